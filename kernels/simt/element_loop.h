// The loop over elements that suits both a GPU and a CPU core. Device code: unseen by a host compiler next to nvcc.
#pragma once
#include <cstdint>

#include "kernels/simt/simt.h"

#if defined(__CUDACC__) || !defined(ESPALIER_CUDA)

namespace espalier::kernels {

// body(i) for every i < count: strided over the grid on a GPU (coalesced), one contiguous run per thread on a CPU
// (vectorised). `body` must not depend on the order.
template <class Body>
__device__ inline void for_each_element(std::int64_t count, Body body) {
  const std::int64_t threads = std::int64_t(gridDim.x) * blockDim.x;
  const std::int64_t thread = std::int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if constexpr (simt::kContiguousElements) {
    const std::int64_t run = (count + threads - 1) / threads, begin = run * thread;
    const std::int64_t end = begin + run < count ? begin + run : count;
    for (std::int64_t i = begin; i < end; ++i) body(i);
  } else {
    for (std::int64_t i = thread; i < count; i += threads) body(i);
  }
}

}  // namespace espalier::kernels

#endif
