// What sampled products share: where a part of an ascending list begins, and sums over the lanes of a warp, those of 8
// kept weights together: 9 shuffles instead of 40. Device code: for .cu files only.
#pragma once
#include "kernels/simt/simt.h"

namespace espalier::kernels {

constexpr int kSumGroup = 8;  // kept weights whose sums a warp adds up together

// The first of [begin, end) whose index is not below `limit`.
__device__ inline int lower_bound(const std::int32_t* __restrict__ indices, int begin, int end, int limit) {
  while (begin < end) {
    const int middle = (begin + end) / 2;
    if (indices[middle] < limit)
      begin = middle + 1;
    else
      end = middle;
  }
  return begin;
}

__device__ inline float sum_over_warp(float value) {
  for (int distance = 16; distance > 0; distance /= 2) value += __shfl_xor_sync(~0u, value, distance);
  return value;
}

// The sum over the warp of sums[n], in the four lanes 4 n ... 4 n + 3.
__device__ inline float sum_group_over_warp(float (&sums)[kSumGroup]) {
  const unsigned lane = threadIdx.x;
#pragma unroll
  for (int half = kSumGroup / 2; half > 0; half /= 2) {
    const bool upper = lane & unsigned(4 * half);
#pragma unroll
    for (int n = 0; n < half; ++n) {
      const float mine = upper ? sums[n + half] : sums[n], theirs = upper ? sums[n] : sums[n + half];
      sums[n] = mine + __shfl_xor_sync(~0u, theirs, 4 * half);
    }
  }
  sums[0] += __shfl_xor_sync(~0u, sums[0], 2);
  return sums[0] + __shfl_xor_sync(~0u, sums[0], 1);
}

}  // namespace espalier::kernels
