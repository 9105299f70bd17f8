#include "kernels/simt/shared_memory.h"

#include <sys/mman.h>

#include <cstring>
#include <new>

namespace espalier::simt::detail {
namespace {

constexpr std::size_t kPageBytes = 4096;
constexpr std::size_t kArenaBytes = (kMaxSharedBytes + kPageBytes - 1) / kPageBytes * kPageBytes;
#if defined(ESPALIER_CHECKS)
constexpr bool kChecks = true;
constexpr std::size_t kAlignment = 16;  // what CUDA promises; as close to the guard page as that allows
#else
constexpr bool kChecks = false;
constexpr std::size_t kAlignment = 64;  // whole cache lines, so that vector loads do not straddle two
#endif

}  // namespace

SharedMemory::SharedMemory() {
  void* memory = mmap(nullptr, kArenaBytes + kPageBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  memory_ = static_cast<char*>(memory);
  mprotect(memory_ + kArenaBytes, kPageBytes, PROT_NONE);
}

SharedMemory::~SharedMemory() { munmap(memory_, kArenaBytes + kPageBytes); }

void* SharedMemory::prepare(const void*, std::size_t dynamic_bytes) {
  const std::size_t rounded = (dynamic_bytes + kAlignment - 1) / kAlignment * kAlignment;
  dynamic_ = {memory_ + kArenaBytes - rounded, rounded};
  return dynamic_.data();
}

void SharedMemory::begin_block() {
  if constexpr (kChecks) {
    std::memset(dynamic_.data(), kPoison, dynamic_.size());
    for (const std::span<char> variable : statics_) std::memset(variable.data(), kPoison, variable.size());
  }
}

}  // namespace espalier::simt::detail
