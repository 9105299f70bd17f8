#include "kernels/sparse/block_csr_spmm.h"

#include "kernels/simt/unrolled.h"
#include "kernels/sparse/panel_tile.h"

namespace espalier::kernels {
namespace {

// sums += one block's rows [row, row + kRows) times the panel. kDepth columns at a time: their values are one load.
template <class Tile, int kRows, int kDepth>
__device__ inline void multiply_block(const float* __restrict__ values, int width, const float* __restrict__ panel,
                                      int columns_left, typename Tile::Strip (&sums)[kRows]) {
  const int used = columns_left < width ? columns_left : width;
  for (int k = 0; k < used; k += kDepth) {
    float factors[kRows][kDepth];
    simt::unrolled<kRows>([&](auto r) { simt::load_together(values + r * width + k, factors[r]); });
    simt::unrolled<kDepth>([&](auto d) {
      if (k + d >= used) return;
      const auto samples = Tile::Strip::load(panel + (k + d) * Tile::kPanel);
      simt::unrolled<kRows>([&](auto r) { sums[r].add_product(factors[r][d], samples); });
    });
  }
}

// A team makes kRows rows of one row of blocks for one panel.
template <class Tile, int kRows, int kDepth>
__global__ void __launch_bounds__(Tile::kLanes* Tile::kTeams)
    block_csr_spmm_kernel(index_t batch, BlockCsrView weight, const float* __restrict__ panels, BiasActivation epilogue,
                          float* __restrict__ y) {
  const int parts = int(weight.block_rows) / kRows, width = int(weight.block_columns);
  const int team = int(blockIdx.x) * Tile::kTeams + int(threadIdx.y);
  const int block_row = team / parts, row = team % parts * kRows;
  if (block_row >= weight.block_grid_rows()) return;
  const float* panel = panels + blockIdx.y * weight.columns * Tile::kPanel + threadIdx.x * Tile::kWidth;
  typename Tile::Strip sums[kRows];
  for (int b = weight.row_offsets[block_row]; b < weight.row_offsets[block_row + 1]; ++b) {
    const index_t column = index_t(weight.column_indices[b]) * width;
    multiply_block<Tile, kRows, kDepth>(weight.values + (b * weight.block_rows + row) * width, width,
                                        panel + column * Tile::kPanel, int(weight.columns - column), sums);
  }
  store_sums(panel_store<Tile>(batch, weight.rows, block_row * weight.block_rows + row), epilogue, sums, y);
}

template <class Tile, int kRows, int kDepth>
void launch(const PanelShape& shape, const BlockCsrView& weight, const float* panels, const BiasActivation& epilogue,
            float* y, cudaStream_t stream) {
  simt::launch(block_csr_spmm_kernel<Tile, kRows, kDepth>,
               panel_grid<Tile>(weight.block_grid_rows() * weight.block_rows, kRows, shape, stream), shape.batch,
               weight, panels, epilogue, y);
}

}  // namespace

void block_csr_spmm(index_t batch, const BlockCsrView& weight, const float* x, const BiasActivation& epilogue, float* y,
                    float* panels, cudaStream_t stream, SparseTeam team) {
  require(batch > 0 && weight.rows > 0 && weight.columns > 0, "block_csr_spmm: batch ", batch, ", weight ", weight.rows,
          " x ", weight.columns, "; all must be at least 1");
  const PanelShape shape = panel_shape(batch, weight.columns, team);
  make_panels(shape, x, panels, team, stream);
  with_team(team, [&](auto chosen) {
    with_panel_tile<decltype(chosen)>(shape, [&](auto tile) {
      using Tile = decltype(tile);
      const bool deep = weight.block_columns % 4 == 0;
      if (deep && weight.block_rows % 8 == 0) {
        launch<Tile, 8, 4>(shape, weight, panels, epilogue, y, stream);
      } else if (deep && weight.block_rows % 4 == 0) {
        launch<Tile, 4, 4>(shape, weight, panels, epilogue, y, stream);
      } else {
        launch<Tile, 1, 1>(shape, weight, panels, epilogue, y, stream);
      }
    });
  });
}

}  // namespace espalier::kernels
