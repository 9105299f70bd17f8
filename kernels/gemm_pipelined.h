// The loaders that transposes and alignment ask for: plain matrices through the pipeline of pipelined_product.h.
// A file for each tile instantiates this, so that they compile side by side.
#pragma once
#include "kernels/gemm_epilogue.h"
#include "kernels/gemm_operands.h"
#include "kernels/gemm_plan.h"
#include "kernels/pipelined_product.h"

namespace espalier::kernels {

using GemmProduct = PipelinedProduct<EpilogueStore<float>>;

// Row sums come along with a transposed A and a plain B, the product of a weight gradient.
inline bool sums_rows_itself(Transpose transpose_a, Transpose transpose_b) {
  return transpose_a == Transpose::yes && transpose_b == Transpose::no;
}

template <class Tile>
GemmProduct pipelined(const GemmShape& shape, const GemmOperands& in, const EpilogueStore<float>& store,
                      float* row_sums, const GemmPlan& plan, Workspace workspace) {
  GemmProduct product{.grid = {.shape = {.m = shape.m, .n = shape.n, .k = shape.k},
                               .tiles_m = ceil_div<index_t>(shape.m, Tile::kM),
                               .tiles_n = ceil_div<index_t>(shape.n, Tile::kN),
                               .splits = plan.splits,
                               .split_depth = plan.split_depth},
                      .a = PipelinedView(in.a),
                      .b = PipelinedView(in.b),
                      .store = store,
                      .row_sums = row_sums,
                      .partial = workspace.data};
  if (product.tiles() <= kArrivals) product.arrivals = workspace.arrivals;
  return product;
}

template <class Tile, int kVector>
void multiply_wide(const GemmProduct& product, cudaStream_t stream) {
  using WideA = PipelinedWideLoader<Tile, Side::a, kVector>;
  using WideB = PipelinedWideLoader<Tile, Side::b, kVector>;
  if (product.row_sums != nullptr) {
    pipelined_product<Tile, WideA, WideB, true>(product, stream);
  } else {
    pipelined_product<Tile, WideA, WideB, false>(product, stream);
  }
}

// 128-bit copies where every row of what is not transposed on the way allows them.
template <class Tile>
void multiply_matrices(const GemmProduct& product, Transpose transpose_a, Transpose transpose_b, cudaStream_t stream) {
  using DeepA = PipelinedDeepLoader<Tile, Side::a>;
  using DeepB = PipelinedDeepLoader<Tile, Side::b>;
  const bool aligned_a = rows_aligned(product.a.matrix.data, product.a.matrix.leading);
  const bool aligned_b = rows_aligned(product.b.matrix.data, product.b.matrix.leading);
  if (transpose_a == Transpose::yes && transpose_b == Transpose::yes) {
    pipelined_product<Tile, PipelinedWideLoader<Tile, Side::a, 1>, DeepB, false>(product, stream);
  } else if (transpose_a == Transpose::yes) {
    aligned_a&& aligned_b ? multiply_wide<Tile, 4>(product, stream) : multiply_wide<Tile, 1>(product, stream);
  } else if (transpose_b == Transpose::yes) {
    pipelined_product<Tile, DeepA, DeepB, false>(product, stream);
  } else if (aligned_b) {
    pipelined_product<Tile, DeepA, PipelinedWideLoader<Tile, Side::b, 4>, false>(product, stream);
  } else {
    pipelined_product<Tile, DeepA, PipelinedWideLoader<Tile, Side::b, 1>, false>(product, stream);
  }
}

extern template void multiply_matrices<PipelinedLargeTile>(const GemmProduct&, Transpose, Transpose, cudaStream_t);
extern template void multiply_matrices<PipelinedMediumTile>(const GemmProduct&, Transpose, Transpose, cudaStream_t);
extern template void multiply_matrices<PipelinedSmallTile>(const GemmProduct&, Transpose, Transpose, cudaStream_t);

}  // namespace espalier::kernels
