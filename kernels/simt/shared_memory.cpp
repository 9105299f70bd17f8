#include "kernels/simt/shared_memory.h"

#include <sys/mman.h>

#include <cstring>
#include <new>

namespace espalier::simt::detail {
namespace {

constexpr std::size_t kPageBytes = 4096;
constexpr std::size_t kArenaBytes = (kMaxSharedBytes + kPageBytes - 1) / kPageBytes * kPageBytes;
// 16 is what CUDA promises, and as close to the guard page as that allows; whole cache lines are faster.
constexpr std::size_t kAlignment = kChecks ? 16 : 64;

void poison(std::span<char> bytes) { std::memset(bytes.data(), kPoison, bytes.size()); }

}  // namespace

SharedMemory::SharedMemory() {
  void* memory = mmap(nullptr, kArenaBytes + kPageBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  memory_ = static_cast<char*>(memory);
  mprotect(memory_ + kArenaBytes, kPageBytes, PROT_NONE);
}

SharedMemory::~SharedMemory() { munmap(memory_, kArenaBytes + kPageBytes); }

void* SharedMemory::prepare(const void* kernel, std::size_t dynamic_bytes) {
  const std::size_t rounded = (dynamic_bytes + kAlignment - 1) / kAlignment * kAlignment;
  dynamic_ = {memory_ + kArenaBytes - rounded, rounded};
  if constexpr (kChecks) {
    const auto known = known_.find(kernel);
    static_ = &(known != known_.end() ? known : known_.emplace(kernel, shared_variables_of(kernel)).first)->second;
  }
  return dynamic_.data();
}

void SharedMemory::begin_block() {
  if constexpr (kChecks) {
    poison(dynamic_);
    for (const std::span<char> variable : static_->own) poison(variable);
    for (const std::span<char> variable : static_->of_functions) poison(variable);
  }
}

}  // namespace espalier::simt::detail
