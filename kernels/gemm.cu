// gemm(): chooses tile and loaders, and finishes C on the way out.
// sm_80, LargeTile: 147 registers, no spills, 1024 of the main loop's 1121 instructions are FFMA (91 %; 87-89 % where
// the operands are not aligned to 16 bytes), 16 of them for each 128-bit shared load, one barrier per step.
#include "kernels/gemm.h"

#include "kernels/gemm_epilogue.h"
#include "kernels/gemm_loaders.h"
#include "kernels/require.h"
#include "kernels/thin_product.h"
#include "kernels/tiled_product.h"

namespace espalier::kernels {
namespace {

struct Operands {
  Transpose transpose_a, transpose_b;
  MatrixView a, b;
};

template <class Tile, int kVector>
void multiply_operands(const ProductShape& shape, const Operands& in, const EpilogueStore<float>& store,
                       Workspace workspace, cudaStream_t stream) {
  using DeepA = DeepLoader<Tile, Side::a, kVector>;
  using WideA = WideLoader<Tile, Side::a, kVector>;
  using DeepB = DeepLoader<Tile, Side::b, kVector>;
  using WideB = WideLoader<Tile, Side::b, kVector>;
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

// 128-bit loads where every row of both operands allows them.
template <class Tile>
void multiply_with(const ProductShape& shape, const Operands& in, const EpilogueStore<float>& store,
                   Workspace workspace, cudaStream_t stream) {
  const bool wide = rows_aligned(in.a.data, in.a.leading) && rows_aligned(in.b.data, in.b.leading);
  if (Tile::kThreads == 1 || !wide) {
    multiply_operands<Tile, 1>(shape, in, store, workspace, stream);
  } else {
    multiply_operands<Tile, 4>(shape, in, store, workspace, stream);
  }
}

// The largest tile that C fills at least half and that still makes half the wanted blocks; big tiles reuse what they
// load more often, small ones leave fewer multiprocessors idle.
template <class Tile>
bool suits(const ProductShape& shape, Workspace workspace) {
  const ProductGrid grid = product_grid<Tile>(shape, workspace.floats);
  return shape.m > Tile::kM / 2 && shape.n > Tile::kN / 2 &&
         grid.tiles_m * grid.tiles_n * grid.splits >= kWantedBlocks / 2;
}

// Calls use(Tile{}) with the tile to take.
template <class Use>
auto with_tile(const ProductShape& shape, GemmTile tile, Workspace workspace, const Use& use) {
  if (tile == GemmTile::automatic) {
    if constexpr (simt::kEmulated) {
      return suits<HostLargeTile>(shape, workspace) ? use(HostLargeTile{}) : use(HostTile{});
    } else {
      tile = suits<LargeTile>(shape, workspace)    ? GemmTile::large
             : suits<MediumTile>(shape, workspace) ? GemmTile::medium
                                                   : GemmTile::small;
    }
  }
  if (tile == GemmTile::large) return use(LargeTile{});
  if (tile == GemmTile::medium) return use(MediumTile{});
  return use(SmallTile{});
}

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
  const ProductShape product{.m = shape.m, .n = shape.n, .k = shape.k};
  const Operands in{transpose_a,
                    transpose_b,
                    {.data = a, .leading = transpose_a == Transpose::no ? shape.k : shape.m, .width = shape.m},
                    {.data = b, .leading = transpose_b == Transpose::no ? shape.n : shape.k, .width = shape.n}};
  const EpilogueStore<float> store = epilogue_store(shape, epilogue, c);
  if (is_thin(shape, transpose_a, transpose_b, tile)) {
    multiply_thin(shape, in, store, tile, stream);
  } else {
    with_tile(product, tile, workspace,
              [&]<class Tile>(Tile) { multiply_with<Tile>(product, in, store, workspace, stream); });
  }
  if (!is_straight(epilogue.activation)) {
    activation_forward(shape.m * shape.n, epilogue.activation, epilogue.leaky_slope, c, c, stream);
  }
  if (epilogue.row_sums != nullptr) {
    const bool deep = transpose_a == Transpose::no;
    simt::launch(row_sums_kernel, elements_grid(shape.m, stream), shape.m, shape.k, deep ? shape.k : 1,
                 deep ? 1 : shape.m, a, epilogue.row_sums);
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
  const ProductShape product{.m = shape.m, .n = shape.n, .k = shape.k};
  return with_tile(product, tile, {.floats = INT64_MAX},
                   [&]<class Tile>(Tile) { return product_workspace_floats<Tile>(product); });
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
