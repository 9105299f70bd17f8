// launch() of the cpu build: checks the configuration as a GPU would, then runs the blocks on the machine's threads, or
// records the call when the stream is being captured. A launch costs 35 ns, over two OS threads 160 ns. The kernel is
// called through a pointer once per thread, so one thread per element runs a ReLU at 0.7 Gelem/s (inlined it would be
// 1.8): elementwise kernels loop in for_each_element(), which is vectorised and reaches 20.
#pragma once
#include <functional>
#include <tuple>

#include "kernels/simt/block.h"
#include "kernels/simt/simt.h"

namespace espalier::simt {
namespace detail {

// A kernel with its arguments, as a grid needs it: it outlives the launch when a graph records it.
template <class... Parameters>
struct Call {
  void (*kernel)(Parameters...);
  std::tuple<Parameters...> arguments;

  const void* address() const { return reinterpret_cast<const void*>(kernel); }
  static void run(const void* closure, Fiber& self) {
    const Call& call = *static_cast<const Call*>(closure);
    run_lanes(&Call::run, closure, self, [&] { std::apply(call.kernel, call.arguments); });
  }
};

void validate(const Launch& launch, const void* kernel);
bool capture_in_progress();  // of any stream
void submit(const Launch& launch, std::function<void()> run);
void run_grid(const Launch& launch, const void* kernel, Entry entry, const void* closure);
void run_grid_in_range(const Launch& launch, const void* kernel, Entry entry, const void* closure);

}  // namespace detail

// kernel<<<grid, block, bytes, stream>>>(arguments...); arguments convert to the kernel's parameter types.
template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), const Launch& launch, Arguments&&... arguments) {
  using Call = detail::Call<Parameters...>;
  const Call call{kernel, {static_cast<Parameters>(std::forward<Arguments>(arguments))...}};
  detail::validate(launch, call.address());
  if (!detail::capture_in_progress()) return detail::run_grid_in_range(launch, call.address(), &Call::run, &call);
  detail::submit(launch, [=] { detail::run_grid(launch, call.address(), &Call::run, &call); });
}

// The block's dynamic shared memory, 16-byte aligned.
template <class T>
T* dynamic_shared() {
  return static_cast<T*>(detail::here.dynamic_shared);
}

}  // namespace espalier::simt
