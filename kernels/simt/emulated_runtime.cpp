// Memory, device and errors of the emulated runtime. A table of allocations lets copies be checked as a GPU's address
// space would check them.
#include "kernels/simt/emulated_runtime.h"

#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>

#include "kernels/simt/emulated_stream.h"
#include "kernels/simt/threads.h"

using espalier::simt::detail::failed;

namespace {

enum class Space { device, host };

// Allocations by address, so that an address inside one finds it.
class Allocations {
 public:
  cudaError_t allocate(void** pointer, std::size_t bytes, Space space) {
    if (pointer == nullptr) return cudaErrorInvalidValue;
    *pointer = nullptr;
    if (bytes == 0) return cudaSuccess;
    const std::size_t rounded = (bytes + kAlignment - 1) / kAlignment * kAlignment;
    if (rounded < bytes || rounded > total_bytes()) return cudaErrorMemoryAllocation;
    void* memory = std::aligned_alloc(kAlignment, rounded);
    if (memory == nullptr) return cudaErrorMemoryAllocation;
    std::memset(memory, 0xFF, rounded);
    const std::lock_guard lock(mutex_);
    blocks_[reinterpret_cast<std::uintptr_t>(memory)] = {bytes, space};
    if (space == Space::device) used_bytes_ += bytes;
    *pointer = memory;
    return cudaSuccess;
  }

  cudaError_t release(void* pointer, Space space) {
    if (pointer == nullptr) return cudaSuccess;
    {
      const std::lock_guard lock(mutex_);
      const auto found = blocks_.find(reinterpret_cast<std::uintptr_t>(pointer));
      if (found == blocks_.end() || found->second.space != space) return cudaErrorInvalidValue;
      if (space == Space::device) used_bytes_ -= found->second.bytes;
      blocks_.erase(found);
    }
    std::free(pointer);
    return cudaSuccess;
  }

  // Does [pointer, pointer + bytes) lie in `space`? Memory that nobody registered is the host's.
  bool contains(const void* pointer, std::size_t bytes, Space space) {
    const auto address = reinterpret_cast<std::uintptr_t>(pointer);
    const std::lock_guard lock(mutex_);
    auto next = blocks_.upper_bound(address);
    if (next == blocks_.begin()) return space == Space::host;
    const auto& [begin, block] = *--next;
    if (address >= begin + block.bytes) return space == Space::host;
    return block.space == space && address + bytes <= begin + block.bytes;
  }
  bool is_device(const void* pointer) { return contains(pointer, 1, Space::device); }

  std::size_t used_bytes() {
    const std::lock_guard lock(mutex_);
    return used_bytes_;
  }
  static std::size_t total_bytes() { return std::size_t(sysconf(_SC_PHYS_PAGES)) * std::size_t(sysconf(_SC_PAGESIZE)); }

 private:
  static constexpr std::size_t kAlignment = 256;
  struct Block {
    std::size_t bytes;
    Space space;
  };
  std::mutex mutex_;
  std::map<std::uintptr_t, Block> blocks_;
  std::size_t used_bytes_ = 0;
};

Allocations& allocations() {
  static Allocations* table = new Allocations;  // outlives every static tensor
  return *table;
}

cudaError_t check_copy(const void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind) {
  if (kind < cudaMemcpyHostToHost || kind > cudaMemcpyDefault) return cudaErrorInvalidMemcpyDirection;
  Allocations& table = allocations();
  const bool to_device = kind == cudaMemcpyDefault ? table.is_device(to)
                                                   : kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
  const bool from_device = kind == cudaMemcpyDefault
                               ? table.is_device(from)
                               : kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
  const bool good = table.contains(to, bytes, to_device ? Space::device : Space::host) &&
                    table.contains(from, bytes, from_device ? Space::device : Space::host);
  return good ? cudaSuccess : cudaErrorInvalidValue;
}

cudaError_t copy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  if (bytes == 0) return cudaSuccess;
  const cudaError_t status = check_copy(to, from, bytes, kind);
  if (status != cudaSuccess) return failed(status);
  return espalier::simt::detail::submit(stream, cudaGraphNodeTypeMemcpy, [=] { std::memmove(to, from, bytes); });
}

cudaError_t fill(void* pointer, int value, std::size_t bytes, cudaStream_t stream) {
  if (bytes == 0) return cudaSuccess;
  if (!allocations().contains(pointer, bytes, Space::device)) return failed(cudaErrorInvalidValue);
  return espalier::simt::detail::submit(stream, cudaGraphNodeTypeMemset, [=] { std::memset(pointer, value, bytes); });
}

cudaError_t check_device(int device) { return failed(device == 0 ? cudaSuccess : cudaErrorInvalidDevice); }

}  // namespace

cudaError_t cudaMalloc(void** pointer, std::size_t bytes) {
  espalier::simt::detail::count_host_wait();
  if (const cudaError_t refused = espalier::simt::detail::refuse_in_capture()) return refused;
  return failed(allocations().allocate(pointer, bytes, Space::device));
}

cudaError_t cudaFree(void* pointer) {
  espalier::simt::detail::count_host_wait();
  if (pointer == nullptr) return cudaSuccess;
  if (const cudaError_t refused = espalier::simt::detail::refuse_in_capture()) return refused;
  return failed(allocations().release(pointer, Space::device));
}

cudaError_t cudaMallocHost(void** pointer, std::size_t bytes) {
  espalier::simt::detail::count_host_wait();
  if (const cudaError_t refused = espalier::simt::detail::refuse_in_capture()) return refused;
  return failed(allocations().allocate(pointer, bytes, Space::host));
}

cudaError_t cudaFreeHost(void* pointer) {
  if (const cudaError_t refused = espalier::simt::detail::refuse_in_capture()) return refused;
  return failed(allocations().release(pointer, Space::host));
}

cudaError_t cudaMallocAsync(void** pointer, std::size_t bytes, cudaStream_t) { return cudaMalloc(pointer, bytes); }

cudaError_t cudaFreeAsync(void* pointer, cudaStream_t) { return cudaFree(pointer); }

cudaError_t cudaMemcpy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind) {
  espalier::simt::detail::count_host_wait();
  return copy(to, from, bytes, kind, nullptr);
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  return copy(to, from, bytes, kind, stream);
}

cudaError_t cudaMemset(void* pointer, int value, std::size_t bytes) { return fill(pointer, value, bytes, nullptr); }

cudaError_t cudaMemsetAsync(void* pointer, int value, std::size_t bytes, cudaStream_t stream) {
  return fill(pointer, value, bytes, stream);
}

cudaError_t cudaMemGetInfo(std::size_t* free_bytes, std::size_t* total_bytes) {
  *total_bytes = Allocations::total_bytes();
  *free_bytes = *total_bytes - std::min(*total_bytes, allocations().used_bytes());
  return cudaSuccess;
}

cudaError_t cudaGetDeviceCount(int* count) {
  *count = 1;
  return cudaSuccess;
}

cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}

cudaError_t cudaSetDevice(int device) { return check_device(device); }

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  if (const cudaError_t wrong = check_device(device)) return wrong;
  *properties = {};
  std::strcpy(properties->name, "CPU emulation");
  properties->totalGlobalMem = Allocations::total_bytes();
  properties->sharedMemPerBlock = 48 * 1024;
  properties->sharedMemPerMultiprocessor = 228 * 1024;
  properties->sharedMemPerBlockOptin = 227 * 1024;
  properties->major = 8;
  properties->multiProcessorCount = int(espalier::simt::worker_threads());
  properties->warpSize = 32;
  properties->maxThreadsPerBlock = 1024;
  properties->maxThreadsPerMultiProcessor = 1024;
  std::copy_n(std::initializer_list<int>{1024, 1024, 64}.begin(), 3, properties->maxThreadsDim);
  std::copy_n(std::initializer_list<int>{2147483647, 65535, 65535}.begin(), 3, properties->maxGridSize);
  properties->regsPerBlock = properties->regsPerMultiprocessor = 65536;
  properties->l2CacheSize = int(std::max(0L, sysconf(_SC_LEVEL3_CACHE_SIZE)));
  properties->memoryBusWidth = 64;
  properties->integrated = properties->unifiedAddressing = 1;
  return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  cudaDeviceProp properties;
  if (const cudaError_t wrong = cudaGetDeviceProperties(&properties, device)) return wrong;
  switch (attribute) {
    case cudaDevAttrMaxThreadsPerBlock:
      *value = properties.maxThreadsPerBlock;
      break;
    case cudaDevAttrWarpSize:
      *value = properties.warpSize;
      break;
    case cudaDevAttrMultiProcessorCount:
      *value = properties.multiProcessorCount;
      break;
    case cudaDevAttrGlobalMemoryBusWidth:
      *value = properties.memoryBusWidth;
      break;
    case cudaDevAttrL2CacheSize:
      *value = properties.l2CacheSize;
      break;
    case cudaDevAttrComputeCapabilityMajor:
      *value = properties.major;
      break;
    case cudaDevAttrComputeCapabilityMinor:
      *value = properties.minor;
      break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      *value = int(properties.sharedMemPerBlockOptin);
      break;
    case cudaDevAttrClockRate:
    case cudaDevAttrMemoryClockRate:
      *value = 0;
      break;  // unknown for a CPU
    default:
      return failed(cudaErrorInvalidValue);
  }
  return cudaSuccess;
}

cudaError_t cudaDriverGetVersion(int* version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}
