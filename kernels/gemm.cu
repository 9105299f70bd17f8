// gemm(): chooses tile, splits and loaders, and finishes C on the way out.
#include "kernels/gemm.h"

#include "kernels/gemm_epilogue.h"
#include "kernels/gemm_operands.h"
#include "kernels/gemm_pipelined.h"
#include "kernels/gemm_plan.h"
#include "kernels/require.h"
#include "kernels/thin_product.h"
#include "kernels/tiled_product.h"

namespace espalier::kernels {
namespace {

// ---- the tiles of a CPU

template <class Tile>
void multiply_on_host(const ProductShape& shape, const GemmOperands& in, const EpilogueStore<float>& store,
                      Workspace workspace, cudaStream_t stream) {
  using DeepA = DeepLoader<Tile, Side::a, 1>;
  using WideA = WideLoader<Tile, Side::a, 1>;
  using DeepB = DeepLoader<Tile, Side::b, 1>;
  using WideB = WideLoader<Tile, Side::b, 1>;
  if (in.transpose_a == Transpose::no && in.transpose_b == Transpose::no) {
    tiled_product<Tile, DeepA, WideB>(shape, in.a, in.b, store, workspace, stream);
  } else if (in.transpose_a == Transpose::no) {
    tiled_product<Tile, DeepA, DeepB>(shape, in.a, in.b, store, workspace, stream);
  } else if (in.transpose_b == Transpose::no) {
    tiled_product<Tile, WideA, WideB>(shape, in.a, in.b, store, workspace, stream);
  } else {
    tiled_product<Tile, WideA, DeepB>(shape, in.a, in.b, store, workspace, stream);
  }
}

// ---- the tiles of a GPU

void multiply_in_pipeline(const GemmShape& shape, const GemmOperands& in, const EpilogueStore<float>& store,
                          float* row_sums, const GemmPlan& plan, Workspace workspace, cudaStream_t stream) {
  const auto multiply = [&]<class Tile>(Tile) {
    multiply_matrices<Tile>(pipelined<Tile>(shape, in, store, row_sums, plan, workspace), in.transpose_a,
                            in.transpose_b, stream);
  };
  if (plan.tile == GemmTile::large) return multiply(PipelinedLargeTile{});
  if (plan.tile == GemmTile::medium) return multiply(PipelinedMediumTile{});
  multiply(PipelinedSmallTile{});
}

// ---- dot products

// Few rows, and both operands contiguous along k: dot products.
bool is_thin(const GemmShape& shape, Transpose transpose_a, Transpose transpose_b, GemmTile tile) {
  return (tile == GemmTile::automatic || tile == GemmTile::thin) && shape.m <= kThinRows &&
         (transpose_a == Transpose::no || shape.m == 1) && transpose_b == Transpose::yes;
}

void multiply_thin(const GemmShape& shape, const GemmOperands& in, const EpilogueStore<float>& store, GemmTile tile,
                   cudaStream_t stream) {
  const ThinProduct product{.m = shape.m, .n = shape.n, .k = shape.k, .a = in.a.data, .b = in.b.data};
  if constexpr (simt::kEmulated) {
    if (tile == GemmTile::automatic) return thin_product<1, 1>(product, store, stream);
  }
  if (rows_aligned(product.a, product.k) && rows_aligned(product.b, product.k)) {
    thin_product<kWarp, 4>(product, store, stream);
  } else {
    thin_product<kWarp, 1>(product, store, stream);
  }
}

__global__ void row_sums_kernel(index_t m, index_t k, index_t row_step, index_t depth_step, const float* a,
                                float* sums) {
  for_each_element(m, [&](index_t row) {
    float sum = 0.0f;
    for (index_t i = 0; i < k; ++i) sum += a[row * row_step + i * depth_step];
    sums[row] = sum;
  });
}

}  // namespace

void gemm(const GemmShape& shape, Transpose transpose_a, Transpose transpose_b, const float* a, const float* b,
          float* c, const GemmEpilogue& epilogue, cudaStream_t stream, Workspace workspace, GemmTile tile) {
  if (shape.m == 0 || shape.n == 0) return;
  const GemmCall call{shape, transpose_a, transpose_b, a, b, c, epilogue};
  require_separate(call);
  if (workspace.data == nullptr) workspace = {};
  const GemmOperands in = gemm_operands(call);
  const EpilogueStore<float> store = epilogue_store(shape, epilogue, c);
  float* row_sums = epilogue.row_sums;
  if (is_thin(shape, transpose_a, transpose_b, tile)) {
    multiply_thin(shape, in, store, tile, stream);
  } else if (simt::kEmulated && tile == GemmTile::automatic) {
    const ProductShape product{.m = shape.m, .n = shape.n, .k = shape.k};
    with_host_tile(product, workspace.floats,
                   [&]<class Tile>(Tile) { multiply_on_host<Tile>(product, in, store, workspace, stream); });
  } else {
    const bool sums = row_sums != nullptr && sums_rows_itself(transpose_a, transpose_b);
    multiply_in_pipeline(shape, in, store, sums ? row_sums : nullptr, gemm_plan(shape, tile, workspace.floats),
                         workspace, stream);
    if (sums) row_sums = nullptr;
  }
  if (!is_straight(epilogue.activation)) {
    activation_forward(shape.m * shape.n, epilogue.activation, epilogue.leaky_slope, c, c, stream);
  }
  if (row_sums != nullptr) {
    const bool deep = transpose_a == Transpose::no;
    simt::launch(row_sums_kernel, elements_grid(shape.m, stream), shape.m, shape.k, deep ? shape.k : 1,
                 deep ? 1 : shape.m, a, row_sums);
  }
}

index_t gemm_workspace_floats(const GemmShape& shape, GemmTile tile) {
  if (shape.m == 0 || shape.n == 0) return 0;
  if (simt::kEmulated && tile == GemmTile::automatic) {
    const ProductShape product{.m = shape.m, .n = shape.n, .k = shape.k};
    index_t floats = 0;
    with_host_tile(product, INT64_MAX, [&]<class Tile>(Tile) { floats = product_workspace_floats<Tile>(product); });
    return floats;
  }
  return gemm_plan(shape, tile, INT64_MAX).workspace_floats;
}

void gemm_epilogue(const GemmShape& shape, const GemmEpilogue& epilogue, float* c, cudaStream_t stream) {
  if (shape.m == 0 || shape.n == 0) return;
  GemmEpilogue rest = epilogue;
  rest.alpha = 1.0f, rest.beta = 0.0f;
  if (rest.bias != nullptr || rest.residual != nullptr || rest.activation == Activation::relu ||
      rest.activation == Activation::leaky_relu) {
    sum_splits(ProductGrid{.shape = {.m = shape.m, .n = shape.n, .k = shape.k}}, c, epilogue_store(shape, rest, c),
               stream);
  }
  if (!is_straight(rest.activation)) {
    activation_forward(shape.m * shape.n, rest.activation, rest.leaky_slope, c, c, stream);
  }
}

}  // namespace espalier::kernels
