// How teams share a panel of samples (panels.h) and the rows of the weight; what the panel products agree on.
#pragma once
#include "kernels/grid.h"
#include "kernels/require.h"
#include "kernels/simt/strip.h"
#include "kernels/sparse/panels.h"
#include "kernels/sparse/row_product.h"

namespace espalier::kernels {

template <class Team, int kRegisters>
struct PanelTile {
  static constexpr int kLanes = Team::kLanes, kTeams = Team::kPerBlock;
  static constexpr int kWidth = kLanes == 1 ? kRegisters * simt::kLanes : kRegisters;  // samples of one thread
  static constexpr int kPanel = kLanes * kWidth;
  // Rows of the weight that a team sums in registers. CPU: the transposing store wants as many as a vector has lanes.
  static constexpr int kRows = kLanes == 1 ? simt::kLanes : 8;
  using Strip = simt::Strip<kWidth>;
};

// function(PanelTile<Team, 1, 2 or 4>()), by the width of the panels.
template <class Team, class Function>
void with_panel_tile(const PanelShape& shape, Function function) {
  if (shape.width == PanelTile<Team, 1>::kPanel) return function(PanelTile<Team, 1>());
  if (shape.width == PanelTile<Team, 2>::kPanel) return function(PanelTile<Team, 2>());
  function(PanelTile<Team, 4>());
}

// One team for each `rows_per_team` rows and panel.
template <class Tile>
simt::Launch panel_grid(index_t rows, index_t rows_per_team, const PanelShape& shape, cudaStream_t stream,
                        std::source_location where = std::source_location::current()) {
  require(shape.panels() <= kMaxGridYZ, "a batch of ", shape.batch, " is too large for one product; split it");
  return {dim3(unsigned(ceil_div(rows, rows_per_team * Tile::kTeams)), unsigned(shape.panels())),
          dim3(Tile::kLanes, Tile::kTeams), 0, stream, where};
}

// Where a team's sums go: y [batch, rows].
struct PanelStore {
  index_t batch, rows;        // extents of y
  index_t sample, first_row;  // of the first element of the sums
};

template <class Tile>
__device__ inline PanelStore panel_store(index_t batch, index_t rows, index_t first_row) {
  return {batch, rows, index_t(blockIdx.y) * Tile::kPanel + threadIdx.x * Tile::kWidth, first_row};
}

// Neighbouring rows of y^T, each a strip of neighbouring samples, with their epilogue. Rows are contiguous in y, so a
// lane writes all its rows of one sample together (32 bytes, a whole sector, for 8 rows); a CPU thread transposes
// squares in vector registers.
template <int kRows, int kWidth>
__device__ inline void store_sums(const PanelStore& store, const BiasActivation& epilogue,
                                  simt::Strip<kWidth> (&sums)[kRows], float* y) {
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    if (store.first_row + r < store.rows) finish(epilogue, store.first_row + r, sums[r]);
  }
  if constexpr (kWidth % simt::kLanes == 0 && simt::kEmulated) {
    const index_t rows = store.rows - store.first_row, samples = store.batch - store.sample;
    if (rows <= 0 || samples <= 0) return;
    float block[kRows * kWidth];  // [rows, samples]
    for (int r = 0; r < kRows; ++r) sums[r].store(block + r * kWidth);
    simt::transpose(block, kWidth, int(rows < kRows ? rows : kRows), int(samples < kWidth ? samples : kWidth),
                    y + store.sample * store.rows + store.first_row, int(store.rows));
  } else {
    const bool whole = kRows % 4 == 0 && store.rows % 4 == 0 && store.first_row + kRows <= store.rows;
#pragma unroll
    for (int j = 0; j < kWidth; ++j) {
      if (store.sample + j >= store.batch) return;
      float* to = y + (store.sample + j) * store.rows + store.first_row;
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        if (kRows % 4 == 0 && whole && r % 4 == 0) {
          *reinterpret_cast<float4*>(to + r) =
              make_float4(sums[r].lane[j], sums[r + 1].lane[j], sums[r + 2].lane[j], sums[r + 3].lane[j]);
        } else if (!whole && store.first_row + r < store.rows) {
          to[r] = sums[r].lane[j];
        }
      }
    }
  }
}

}  // namespace espalier::kernels
