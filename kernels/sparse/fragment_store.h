// Sums of tensor-core fragments on their way to y [batch, rows]: 16 x 8 each, a thread's four in two neighbours of the
// 8 and, eight further along the 16, two more (simt/tensor_core.h). Device code: for .cu files only.
#pragma once
#include "kernels/simt/simt.h"
#include "kernels/sparse/straight_epilogue.h"

namespace espalier::kernels {

// What a block makes of y, and where a warp's fragments begin in it.
struct FragmentPlace {
  index_t row, sample;
  index_t rows, batch;  // of y
};

// Output features run along the 16, so eight lanes store eight neighbours: whole sectors.
template <int kM, int kN>
__device__ inline void store_fragments(const float (&sums)[kM][kN][4], const FragmentPlace& place,
                                       const StraightEpilogue& epilogue, float* __restrict__ y) {
  const int lane = int(threadIdx.x) % 32;
  const index_t row = place.row + lane / 4, sample = place.sample + lane % 4 * 2;
#pragma unroll
  for (int i = 0; i < kM; ++i) {
#pragma unroll
    for (int j = 0; j < kN; ++j) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const index_t to_row = row + 16 * i + e / 2 * 8, to_sample = sample + 8 * j + e % 2;
        if (to_row < place.rows && to_sample < place.batch) {
          y[to_sample * place.rows + to_row] = epilogue(sums[i][j][e], to_row);
        }
      }
    }
  }
}

}  // namespace espalier::kernels
