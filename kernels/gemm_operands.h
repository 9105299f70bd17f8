// What gemm.cu and gemm_pair.cu share: a call's operands as loaders see them, its checks, and the tiles of a CPU.
#pragma once
#include <limits>

#include "kernels/gemm.h"
#include "kernels/gemm_loaders.h"
#include "kernels/require.h"
#include "kernels/tiled_product.h"

namespace espalier::kernels {

struct GemmOperands {
  Transpose transpose_a, transpose_b;
  MatrixView a, b;
};

inline GemmOperands gemm_operands(const GemmCall& call) {
  const GemmShape& s = call.shape;
  return {call.transpose_a,
          call.transpose_b,
          {.data = call.a, .leading = call.transpose_a == Transpose::no ? s.k : s.m, .width = s.m},
          {.data = call.b, .leading = call.transpose_b == Transpose::no ? s.n : s.k, .width = s.n}};
}

inline void require_separate(const GemmCall& call) {
  constexpr index_t kMost = std::numeric_limits<int>::max() / 8;  // tiles count rows and columns in 32 bits
  const GemmShape& shape = call.shape;
  require(shape.m >= 0 && shape.n >= 0 && shape.k >= 0, "gemm: m ", shape.m, ", n ", shape.n, ", k ", shape.k,
          "; sizes cannot be negative");
  require(shape.m <= kMost && shape.n <= kMost && shape.k <= kMost, "gemm: m ", shape.m, ", n ", shape.n, ", k ",
          shape.k, "; at most ", kMost, " each");
  require(call.a != call.c && call.b != call.c, "gemm: C is also an operand (m ", shape.m, ", n ", shape.n, ", k ",
          shape.k, ", transposed A ", int(call.transpose_a == Transpose::yes), ", B ",
          int(call.transpose_b == Transpose::yes), "); write the product elsewhere");
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

}  // namespace espalier::kernels
