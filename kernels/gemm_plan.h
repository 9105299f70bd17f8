// Which tile a product takes on a GPU, and over how many blocks it splits k: what a model of the main loops says is
// fastest. It knows the shape only, never the device, so that the order of summation, hence every bit of the result, is
// the same on every GPU.
#pragma once
#include "kernels/gemm.h"

namespace espalier::kernels {

struct GemmPlan {
  GemmTile tile = GemmTile::small;
  index_t splits = 1, split_depth = 0;  // split s sums k in [s, s + 1) * split_depth
  index_t workspace_floats = 0;
  float clocks = 0;  // modelled, the mean of three GPUs
};

// The best plan that needs no more than so many floats; `tile` may leave it no choice.
GemmPlan gemm_plan(const GemmShape& shape, GemmTile tile, index_t workspace_floats);

// The tile with the best plans for two products in one launch.
GemmTile gemm_pair_tile(const GemmShape& first, const GemmShape& second);

}  // namespace espalier::kernels
