// Grid arithmetic shared by every launcher, and the element loop that suits both a GPU and a CPU core.
#pragma once
#include <algorithm>
#include <cstdint>
#include <source_location>

#include "kernels/shapes.h"
#include "kernels/simt/simt.h"

namespace espalier::kernels {

template <class T>
constexpr T ceil_div(T a, T b) {
  return (a + b - 1) / b;
}

constexpr index_t kMaxGridX = 2147483647, kMaxGridYZ = 65535;  // CUDA C++ Programming Guide, compute capabilities

// One thread for each of `count` elements, 256 to a block; count == 0 launches nothing.
inline simt::Launch one_thread_per(index_t count, cudaStream_t stream,
                                   std::source_location where = std::source_location::current()) {
  constexpr index_t block = 256;
  return {dim3(unsigned(ceil_div(count, block))), dim3(unsigned(block)), 0, stream, where};
}

// For kernels written with for_each_element(): enough threads to fill the device, each doing many elements.
inline simt::Launch elements_grid(index_t count, cudaStream_t stream,
                                  std::source_location where = std::source_location::current()) {
  const index_t threads = simt::kElementThreads;  // per block: 256 on a GPU, 1 where a "thread" is a loop
  const index_t blocks = std::min<index_t>(ceil_div(count, threads * simt::kElementsPerThread), simt::kElementBlocks);
  return {dim3(unsigned(blocks)), dim3(unsigned(threads)), 0, stream, where};
}

// body(i) for every i < count: strided over the grid on a GPU (coalesced), one contiguous run per thread on a CPU
// (vectorised). `body` must not depend on the order.
template <class Body>
__device__ inline void for_each_element(index_t count, Body body) {
  const index_t threads = index_t(gridDim.x) * blockDim.x, thread = index_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if constexpr (simt::kContiguousElements) {
    const index_t run = ceil_div(count, threads), begin = run * thread, end = begin + run < count ? begin + run : count;
    for (index_t i = begin; i < end; ++i) body(i);
  } else {
    for (index_t i = thread; i < count; i += threads) body(i);
  }
}

}  // namespace espalier::kernels
