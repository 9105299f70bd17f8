// Fibers: user-space threads of one OS thread, each with its own guarded stack. A switch saves six registers and the
// stack pointer, nothing else: everything beyond is caller-saved in the x86-64 System V ABI. Other CPUs use ucontext.
#pragma once
#include <cstddef>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

namespace espalier::simt {

struct Fiber {
#if defined(__x86_64__)
  void* stack_pointer = nullptr;  // valid while suspended
#else
  ucontext_t context = {};
#endif
#if defined(__SANITIZE_ADDRESS__)
  void* fake_stack = nullptr;
#endif
  const void* stack_bottom = nullptr;
  std::size_t stack_bytes = 0;
  std::size_t index = 0;
};

// Makes `fiber` ready to run body(), which never returns, on a stack of `bytes` at `bottom`.
void prepare_fiber(Fiber& fiber, void* bottom, std::size_t bytes, void (*body)());

#if defined(__x86_64__)
extern "C" void espalier_switch_stack(void** save, void* load);
#endif

// Suspends `from`, the running one, and resumes `to`.
inline void switch_fiber(Fiber& from, Fiber& to) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(&from.fake_stack, to.stack_bottom, to.stack_bytes);
#endif
#if defined(__x86_64__)
  espalier_switch_stack(&from.stack_pointer, to.stack_pointer);
#else
  swapcontext(&from.context, &to.context);
#endif
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(from.fake_stack, nullptr, nullptr);
#endif
}

// The fiber that stands for an OS thread's own stack: a place to come back to.
void adopt_thread_stack(Fiber& fiber);

// Stacks of one OS thread, each above an inaccessible page: an overflow is a fault, not a corruption.
class FiberPool {
 public:
  explicit FiberPool(void (*body)());
  ~FiberPool();
  FiberPool(const FiberPool&) = delete;
  FiberPool& operator=(const FiberPool&) = delete;

  Fiber& take();            // an idle fiber, made when there is none
  void give(Fiber& fiber);  // idle again; it is still running and about to switch away

 private:
  struct Chunk;
  Fiber& grow();

  void (*body_)();
  Chunk* chunks_ = nullptr;
  std::size_t made_ = 0;
  Fiber* idle_[1025] = {};
  std::size_t idle_count_ = 0;
};

}  // namespace espalier::simt
