// launch() of the cpu build: checks the configuration as a GPU would, then runs the blocks on the machine's threads, or
// records the call when the stream is being captured.
#pragma once
#include <tuple>

#include "kernels/simt/block.h"
#include "kernels/simt/simt.h"

namespace espalier::simt {
namespace detail {

template <class Kernel, class... Parameters>
struct Call {
  Kernel kernel;
  std::tuple<Parameters...> arguments;

  static void run(const void* closure, Fiber& self) {
    const Call& call = *static_cast<const Call*>(closure);
    run_lanes(&Call::run, closure, self, [&] { std::apply(call.kernel, call.arguments); });
  }
};

void validate(const Launch& launch);
void run_grid(const Launch& launch, const void* kernel, Entry entry, const void* closure);

template <class AnyCall>
void submit(const Launch& launch, const AnyCall& call) {
  validate(launch);
  const auto run = [](const Launch& where, const AnyCall& what) {
    run_grid(where, reinterpret_cast<const void*>(what.kernel), &AnyCall::run, &what);
  };
  if (!is_recorded(launch.stream)) return run(launch, call);
  enqueue(
      launch.stream, [=] { run(launch, call); }, cudaGraphNodeTypeKernel);
}

}  // namespace detail

// kernel<<<grid, block, bytes, stream>>>(arguments...); arguments convert to the kernel's parameter types.
template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), const Launch& launch, Arguments&&... arguments) {
  detail::submit(launch, detail::Call<void (*)(Parameters...), Parameters...>{
                             kernel, {static_cast<Parameters>(std::forward<Arguments>(arguments))...}});
}

// The block's dynamic shared memory, 16-byte aligned.
template <class T>
T* dynamic_shared() {
  return static_cast<T*>(detail::here.dynamic_shared);
}

}  // namespace espalier::simt
