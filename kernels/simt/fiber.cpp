// The stacks. Their tops are coloured: were all at the same offset of a page, the hot lines of
// 64 suspended threads would fall in the same few cache sets.
#include "kernels/simt/fiber.h"

#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <new>

namespace espalier::simt {
namespace {

constexpr std::size_t kPageBytes = 4096;
// As wide as a stack, so that one large frame cannot step over it, and a page more: with an even number of pages from
// stack to stack, their hot pages would share a few sets of the TLB.
constexpr std::size_t kGuardBytes = kFiberStackBytes + kPageBytes;
constexpr std::size_t kFibersPerChunk = 32;
constexpr int kGuards = 16384;  // of the process: each splits a mapping, and Linux allows 65,530 of them
constexpr std::size_t kColours = 32, kColourBytes = 320;  // five cache lines: the hot part of a suspended stack

#if defined(__SANITIZE_ADDRESS__)
thread_local void (*first_body)() = nullptr;
[[gnu::noreturn]] void run_body() {
  __sanitizer_finish_switch_fiber(nullptr, nullptr, nullptr);
  first_body();
  __builtin_unreachable();
}
#endif

}  // namespace

void prepare_fiber(Fiber& fiber, void* bottom, std::size_t bytes, void (*body)()) {
  fiber.stack_bottom = bottom;
  fiber.stack_bytes = bytes;
#if defined(__SANITIZE_ADDRESS__)
  first_body = body;
  body = run_body;
#endif
#if !defined(ESPALIER_UCONTEXT)
  const std::uintptr_t end = reinterpret_cast<std::uintptr_t>(bottom) + bytes;
  auto* top = reinterpret_cast<std::uintptr_t*>((end - (fiber.index % kColours) * kColourBytes) & ~std::uintptr_t{63});
  *--top = 0;  // the return address of body(): ends backtraces, and leaves the stack aligned as after a call
  *--top = reinterpret_cast<std::uintptr_t>(body);
  fiber.stack_pointer = top;
#else
  getcontext(&fiber.context);
  fiber.context.uc_stack.ss_sp = bottom;
  fiber.context.uc_stack.ss_size = bytes - (fiber.index % kColours) * kColourBytes;
  makecontext(&fiber.context, body, 0);
  fiber.stack_pointer = &fiber.context;
#endif
}

void adopt_thread_stack(Fiber& fiber) {
  pthread_attr_t attributes;
  if (pthread_getattr_np(pthread_self(), &attributes) != 0) return;
  void* bottom = nullptr;
  pthread_attr_getstack(&attributes, &bottom, &fiber.stack_bytes);
  pthread_attr_destroy(&attributes);
  fiber.stack_bottom = bottom;
}

struct FiberPool::Chunk {
  Chunk* next;
  void* memory;
  Fiber fibers[kFibersPerChunk];
};

FiberPool::FiberPool(void (*body)()) : body_(body) {}

FiberPool::~FiberPool() {
  while (chunks_ != nullptr) {
    Chunk* chunk = chunks_;
    chunks_ = chunk->next;
    munmap(chunk->memory, kFibersPerChunk * (kGuardBytes + kFiberStackBytes));
    delete chunk;
  }
}

Fiber& FiberPool::grow() {
  const std::size_t slot = made_ % kFibersPerChunk, pitch = kGuardBytes + kFiberStackBytes;
  if (slot == 0) {
    void* memory = mmap(nullptr, kFibersPerChunk * pitch, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    chunks_ = new Chunk{chunks_, memory, {}};
  }
  char* guard = static_cast<char*>(chunks_->memory) + slot * pitch;
  static std::atomic<int> guards{0};
  if (guards.fetch_add(1, std::memory_order_relaxed) < kGuards) mprotect(guard, kGuardBytes, PROT_NONE);
  Fiber& fiber = chunks_->fibers[slot];
  fiber.index = made_++;
  prepare_fiber(fiber, guard + kGuardBytes, kFiberStackBytes, body_);
  return fiber;
}

Fiber& FiberPool::take() { return idle_count_ > 0 ? *idle_[--idle_count_] : grow(); }

void FiberPool::give(Fiber& fiber) { idle_[idle_count_++] = &fiber; }

}  // namespace espalier::simt
