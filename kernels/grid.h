// Grid arithmetic shared by every launcher.
#pragma once
#include <algorithm>
#include <cstdint>
#include <source_location>

#include "kernels/shapes.h"
#include "kernels/simt/element_loop.h"
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

}  // namespace espalier::kernels
