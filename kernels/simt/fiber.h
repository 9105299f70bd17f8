// Fibers: user-space threads of one OS thread, each with its own guarded stack. A switch saves the frame and stack
// pointers and a place to continue; the compiler saves what else it needs. CPUs other than x86-64 use ucontext.
#pragma once
#include <cstddef>

#if !defined(__x86_64__) || defined(ESPALIER_PORTABLE_FIBERS)
#define ESPALIER_UCONTEXT
#include <ucontext.h>
#endif
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

namespace espalier::simt {

#if defined(__SANITIZE_ADDRESS__)
constexpr std::size_t kFiberStackBytes = 512 * 1024;  // instrumented frames are several times larger
#else
constexpr std::size_t kFiberStackBytes = 128 * 1024;
#endif

struct Fiber {
  void* stack_pointer = nullptr;  // valid while idle
#if defined(ESPALIER_UCONTEXT)
  ucontext_t context = {};  // of the first start
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

#if !defined(ESPALIER_UCONTEXT)

// Saves the running stack's pointer to *save and continues on the stack whose pointer is in *load, where its own call
// of this left off. Inlined, so that the compiler saves only registers in use; a jump, not a return, because the
// processor predicts returns by a stack of calls that switching invalidates: 2 ns a switch, against 11 with a
// called switch that returns, where threads wait at two barriers in turn.
inline void switch_stack(void** save, void** load) {
  asm volatile(
      "leaq -128(%%rsp), %%rsp\n\t"  // past the red zone
      "pushq %%rbp\n\t"
      "leaq 1f(%%rip), %%rax\n\t"
      "pushq %%rax\n\t"
      "movq %%rsp, (%0)\n\t"
      "movq (%1), %%rsp\n\t"
      "popq %%rax\n\t"
      "jmpq *%%rax\n"
      "1:\n\t"
      "popq %%rbp\n\t"
      "leaq 128(%%rsp), %%rsp"
      : "+D"(save), "+S"(load)
      :
      : "rax", "rbx", "rcx", "rdx", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "xmm0", "xmm1", "xmm2",
        "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15",
#if defined(__AVX512F__)
        "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23", "xmm24", "xmm25", "xmm26", "xmm27",
        "xmm28", "xmm29", "xmm30", "xmm31", "k0", "k1", "k2", "k3", "k4", "k5", "k6", "k7",
#endif
        "cc", "memory");
}

#else

inline void switch_stack(void** save, void** load) {
  ucontext_t here;
  *save = &here;
  swapcontext(&here, static_cast<ucontext_t*>(*load));
}

#endif

// Suspends `from`, the running fiber, and resumes `to`; their stack pointers lie in *save and *load.
inline void switch_fiber([[maybe_unused]] Fiber& from, void** save, [[maybe_unused]] Fiber& to, void** load) {
#if defined(__SANITIZE_ADDRESS__)
  if (&from == &to) return;
  __sanitizer_start_switch_fiber(&from.fake_stack, to.stack_bottom, to.stack_bytes);
#endif
  switch_stack(save, load);
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
