// gemm(): chooses tile, splits and loaders, and finishes C on the way out.
#include "kernels/gemm.h"

#include <limits>

#include "kernels/gemm_epilogue.h"
#include "kernels/gemm_loaders.h"
#include "kernels/gemm_pipelined.h"
#include "kernels/gemm_plan.h"
#include "kernels/require.h"
#include "kernels/thin_product.h"
#include "kernels/tiled_product.h"

namespace espalier::kernels {
namespace {

struct Operands {
  Transpose transpose_a, transpose_b;
  MatrixView a, b;
};

// ---- the tiles of a CPU

template <class Tile>
void multiply_on_host(const ProductShape& shape, const Operands& in, const EpilogueStore<float>& store,
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

// Calls use(Tile{}): with the large tile where C fills it at least half and it still makes half the wanted blocks. The
// cpu build only: nvcc never instantiates it.
template <class Use>
void with_host_tile(const ProductShape& shape, index_t workspace_floats, const Use& use) {
  if constexpr (simt::kEmulated) {
    const ProductGrid grid = product_grid<HostLargeTile>(shape, workspace_floats);
    const bool large = shape.m > HostLargeTile::kM / 2 && shape.n > HostLargeTile::kN / 2 &&
                       grid.tiles_m * grid.tiles_n * grid.splits >= kWantedBlocks / 2;
    large ? use(HostLargeTile{}) : use(HostTile{});
  }
}

// ---- the tiles of a GPU

template <class Tile>
GemmProduct pipelined(const GemmShape& shape, const Operands& in, const EpilogueStore<float>& store, float* row_sums,
                      const GemmPlan& plan, Workspace workspace) {
  GemmProduct product{.grid = {.shape = {.m = shape.m, .n = shape.n, .k = shape.k},
                               .tiles_m = ceil_div<index_t>(shape.m, Tile::kM),
                               .tiles_n = ceil_div<index_t>(shape.n, Tile::kN),
                               .splits = plan.splits,
                               .split_depth = plan.split_depth},
                      .a = in.a,
                      .b = in.b,
                      .store = store,
                      .row_sums = row_sums,
                      .partial = workspace.data};
  if (product.tiles() <= kArrivals) product.arrivals = workspace.arrivals;
  return product;
}

void multiply_in_pipeline(const GemmShape& shape, const Operands& in, const EpilogueStore<float>& store,
                          float* row_sums, const GemmPlan& plan, Workspace workspace, cudaStream_t stream) {
  constexpr index_t kMost = std::numeric_limits<int>::max() / 8;
  require(shape.m <= kMost && shape.n <= kMost && shape.k <= kMost, "gemm: m ", shape.m, ", n ", shape.n, ", k ",
          shape.k, "; at most ", kMost, " each");
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

void multiply_thin(const GemmShape& shape, const Operands& in, const EpilogueStore<float>& store, GemmTile tile,
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

void check(const GemmShape& shape, Transpose transpose_a, Transpose transpose_b, const float* a, const float* b,
           const float* c) {
  require(shape.m >= 0 && shape.n >= 0 && shape.k >= 0, "gemm: m ", shape.m, ", n ", shape.n, ", k ", shape.k,
          "; sizes cannot be negative");
  require(a != c && b != c, "gemm: C is also an operand (m ", shape.m, ", n ", shape.n, ", k ", shape.k,
          ", transposed A ", int(transpose_a == Transpose::yes), ", B ", int(transpose_b == Transpose::yes),
          "); write the product elsewhere");
}

}  // namespace

void gemm(const GemmShape& shape, Transpose transpose_a, Transpose transpose_b, const float* a, const float* b,
          float* c, const GemmEpilogue& epilogue, cudaStream_t stream, Workspace workspace, GemmTile tile) {
  if (shape.m == 0 || shape.n == 0) return;
  check(shape, transpose_a, transpose_b, a, b, c);
  if (workspace.data == nullptr) workspace.floats = 0;
  const Operands in{transpose_a,
                    transpose_b,
                    {.data = a, .leading = transpose_a == Transpose::no ? shape.k : shape.m, .width = shape.m},
                    {.data = b, .leading = transpose_b == Transpose::no ? shape.n : shape.k, .width = shape.n}};
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

void gemm_pair(const GemmCall& first, const GemmCall& second, cudaStream_t stream, Workspace workspace) {
  for (const GemmCall& call : {first, second}) {
    gemm(call.shape, call.transpose_a, call.transpose_b, call.a, call.b, call.c, call.epilogue, stream, workspace);
  }
}

index_t gemm_pair_workspace_floats(const GemmCall& first, const GemmCall& second) {
  return std::max(gemm_workspace_floats(first.shape), gemm_workspace_floats(second.shape));
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
