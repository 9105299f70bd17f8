// Device memory: a caching allocator, because cudaMalloc synchronises the device and is forbidden in a capture.
// Freed blocks are kept by size class and reused in stream order. A MemoryPool of its own keeps the memory of a
// captured graph from being handed to anyone else while the graph may still be launched.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>

namespace espalier {

struct MemoryStatistics {
  std::int64_t device_allocations = 0;  // calls of cudaMalloc since the start
  std::int64_t reserved_bytes = 0;      // held from the device
  std::int64_t used_bytes = 0;          // held by live tensors
  std::int64_t peak_used_bytes = 0;
};

class MemoryPool {
 public:
  MemoryPool();
  ~MemoryPool();  // blocks still in use stay alive until their last owner is gone
  // At least `bytes` of device memory, 256-byte aligned; given back to this pool by the last owner.
  // Throws DeviceError when the device has no more; inside a capture also when nothing fitting was reserved before.
  std::shared_ptr<void> allocate(std::size_t bytes);
  // Counters at which the blocks of a launch meet (kernels::kArrivals of them): all zero between launches, of which
  // those that use this pool never overlap. Made at the first call, which must not be within a capture.
  unsigned* arrivals();
  MemoryStatistics statistics() const;
  void release_unused();  // gives cached blocks back to the device

 private:
  struct State;
  std::shared_ptr<State> state_;
};

MemoryPool& current_pool();  // the process-wide pool unless a PoolScope chose another

// Host memory that the device can write while the host goes on.
std::shared_ptr<void> pinned_memory(std::size_t bytes);

// While it lives, tensors of this thread are born in `pool`.
class PoolScope {
 public:
  explicit PoolScope(MemoryPool& pool);
  ~PoolScope();
  PoolScope(const PoolScope&) = delete;
  PoolScope& operator=(const PoolScope&) = delete;

 private:
  MemoryPool* previous_;
};

}  // namespace espalier
