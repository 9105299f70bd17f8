// Size classes: multiples of 512 bytes up to 1 MiB, then eighths of a power of two, so that at most 12.5 % is lost.
// A block freed is free at once: all work that touched it and all work that will reuse it is in stream order, since
// a pool is used with one stream at a time.
#include "core/device/memory.h"

#include <bit>
#include <map>
#include <mutex>
#include <vector>

#include "core/device/error.h"
#include "core/device/stream.h"
#include "kernels/shapes.h"

namespace espalier {
namespace {

std::size_t size_class(std::size_t bytes) {
  constexpr std::size_t small = 512, large = std::size_t(1) << 20;
  if (bytes <= large) return std::max(small, (bytes + small - 1) / small * small);
  const std::size_t step = std::bit_floor(bytes - 1) / 8;
  return (bytes + step - 1) / step * step;
}

thread_local MemoryPool* scoped_pool = nullptr;

}  // namespace

struct MemoryPool::State {
  std::mutex mutex;
  std::multimap<std::size_t, void*> free_blocks;  // by size class
  MemoryStatistics statistics;
  unsigned* arrivals = nullptr;  // never given back before the end
  bool closed = false;           // its MemoryPool is gone: blocks coming back go to the device

  ~State() {
    release();
    cudaFree(arrivals);
  }
  void release() {
    for (const auto& [bytes, block] : free_blocks) {
      cudaFree(block);
      statistics.reserved_bytes -= std::int64_t(bytes);
    }
    free_blocks.clear();
  }
  void* take(std::size_t bytes) {
    if (const auto found = free_blocks.find(bytes); found != free_blocks.end()) {
      void* const block = found->second;
      free_blocks.erase(found);
      return block;
    }
    return reserve(bytes);
  }
  void* reserve(std::size_t bytes) {
    if (capturing()) {
      throw DeviceError("a captured run needs " + std::to_string(bytes) +
                        " bytes that the run before it did not: captured work must be the same each time");
    }
    void* block = nullptr;
    cudaError_t status = cudaMalloc(&block, bytes);
    if (status == cudaErrorMemoryAllocation) {  // give back what only waits for reuse, then ask once more
      cudaGetLastError();
      check(cudaDeviceSynchronize());
      release();
      status = cudaMalloc(&block, bytes);
    }
    if (status == cudaErrorMemoryAllocation) {
      cudaGetLastError();
      std::size_t free = 0, total = 0;
      check(cudaMemGetInfo(&free, &total));
      throw DeviceError("out of device memory: " + std::to_string(bytes) + " bytes asked, " + std::to_string(free) +
                        " of " + std::to_string(total) + " free, " + std::to_string(statistics.used_bytes) +
                        " in tensors; use a smaller batch");
    }
    check(status);
    ++statistics.device_allocations;
    statistics.reserved_bytes += std::int64_t(bytes);
    return block;
  }
  void give_back(void* block, std::size_t bytes) {
    const std::lock_guard lock(mutex);
    statistics.used_bytes -= std::int64_t(bytes);
    free_blocks.emplace(bytes, block);
    if (closed) release();
  }
};

MemoryPool::MemoryPool() : state_(std::make_shared<State>()) {}

MemoryPool::~MemoryPool() {
  const std::lock_guard lock(state_->mutex);
  state_->closed = true;
  state_->release();
}

std::shared_ptr<void> MemoryPool::allocate(std::size_t bytes) {
  const std::size_t rounded = size_class(bytes);
  const std::lock_guard lock(state_->mutex);
  void* const block = state_->take(rounded);
  auto& statistics = state_->statistics;
  statistics.used_bytes += std::int64_t(rounded);
  statistics.peak_used_bytes = std::max(statistics.peak_used_bytes, statistics.used_bytes);
  return {block, [state = state_, rounded](void* freed) { state->give_back(freed, rounded); }};
}

unsigned* MemoryPool::arrivals() {
  const std::size_t bytes = size_class(std::size_t(kernels::kArrivals) * sizeof(unsigned));
  const std::lock_guard lock(state_->mutex);
  if (state_->arrivals == nullptr) {
    void* const block = state_->reserve(bytes);  // not one of the free blocks: a captured run will ask for that again
    check(cudaMemsetAsync(block, 0, bytes, current_stream()));
    state_->arrivals = static_cast<unsigned*>(block);
  }
  return state_->arrivals;
}

MemoryStatistics MemoryPool::statistics() const {
  const std::lock_guard lock(state_->mutex);
  return state_->statistics;
}

void MemoryPool::release_unused() {
  check(cudaDeviceSynchronize());
  const std::lock_guard lock(state_->mutex);
  state_->release();
}

MemoryPool& current_pool() {
  static auto* const process_pool = new MemoryPool;  // outlives every static tensor
  return scoped_pool ? *scoped_pool : *process_pool;
}

std::shared_ptr<void> pinned_memory(std::size_t bytes) {
  void* block = nullptr;
  check(cudaMallocHost(&block, bytes));
  return {block, [](void* freed) { cudaFreeHost(freed); }};
}

PoolScope::PoolScope(MemoryPool& pool) : previous_(scoped_pool) { scoped_pool = &pool; }
PoolScope::~PoolScope() { scoped_pool = previous_; }

}  // namespace espalier
