// Which of a group's neighbours a 2:4 format keeps: what its encoders agree on. Device code: for .cu files only.
#pragma once
#include "kernels/simt/simt.h"

namespace espalier::kernels {

// A bit for each of kKept places: nonzeros first, then the lowest free places.
template <int kKept, int kGroup>
__device__ inline unsigned choose_places(const float (&group)[kGroup]) {
  unsigned chosen = 0;
  int count = 0;
#pragma unroll
  for (int i = 0; i < kGroup; ++i) {
    if (group[i] != 0.0f && count < kKept) chosen |= 1u << i, ++count;
  }
#pragma unroll
  for (int i = 0; i < kGroup; ++i) {
    if (count < kKept && !(chosen >> i & 1u)) chosen |= 1u << i, ++count;
  }
  return chosen;
}

}  // namespace espalier::kernels
