#include "kernels/sparse/two_four_spmm.h"

#include "kernels/simt/unrolled.h"
#include "kernels/sparse/panel_tile.h"

namespace espalier::kernels {
namespace {

constexpr int kKept = TwoFourView::kKept, kGroup = TwoFourView::kGroup;

// sum += the 16 kept weights that one metadata word describes; `columns_left` of its 32 columns and more exist.
template <class Tile>
__device__ inline void multiply_word(std::uint32_t places, const float* __restrict__ values,
                                     const float* __restrict__ panel, int columns_left, typename Tile::Strip& sum) {
  simt::unrolled<TwoFourView::kGroupsPerWord>([&](auto group) {
    float kept[kKept];
    simt::load_together(values + group * kKept, kept);
    simt::unrolled<kKept>([&](auto i) {
      const int column = group * kGroup + int(places >> (4 * group + 2 * i) & 3u);
      if (column < columns_left) sum.add_product(kept[i], panel + column * Tile::kPanel);
    });
  });
}

template <class Tile>
__global__ void __launch_bounds__(Tile::kLanes* Tile::kTeams)
    two_four_spmm_kernel(index_t batch, TwoFourView weight, const float* __restrict__ panels, BiasActivation epilogue,
                         float* __restrict__ y) {
  const int first_row = (int(blockIdx.x) * Tile::kTeams + int(threadIdx.y)) * Tile::kRows;
  const float* panel = panels + blockIdx.y * weight.columns * Tile::kPanel + threadIdx.x * Tile::kWidth;
  const int words = int(weight.words_per_row()), kept_per_word = TwoFourView::kGroupsPerWord * kKept;
  typename Tile::Strip sums[Tile::kRows];
  for (int w = 0; w < words; ++w) {
    const int column = w * TwoFourView::kColumnsPerWord;
    const float* samples = panel + index_t(column) * Tile::kPanel;
#pragma unroll
    for (int r = 0; r < Tile::kRows; ++r) {
      if (first_row + r >= weight.rows) continue;
      const index_t word = index_t(first_row + r) * words + w;
      multiply_word<Tile>(weight.metadata[word], weight.values + word * kept_per_word, samples,
                          int(weight.columns) - column, sums[r]);
    }
  }
  store_sums(panel_store<Tile>(batch, weight.rows, first_row), epilogue, sums, y);
}

}  // namespace

void two_four_spmm(index_t batch, const TwoFourView& weight, const float* x, const BiasActivation& epilogue, float* y,
                   float* panels, cudaStream_t stream, SparseTeam team) {
  require(batch > 0 && weight.rows > 0 && weight.columns > 0, "two_four_spmm: batch ", batch, ", weight ", weight.rows,
          " x ", weight.columns, "; all must be at least 1");
  const PanelShape shape = panel_shape(batch, weight.columns, team);
  make_panels(shape, x, panels, team, stream);
  with_team(team, [&](auto chosen) {
    with_panel_tile<decltype(chosen)>(shape, [&](auto tile) {
      using Tile = decltype(tile);
      simt::launch(two_four_spmm_kernel<Tile>, panel_grid<Tile>(weight.rows, Tile::kRows, shape, stream), batch, weight,
                   panels, epilogue, y);
    });
  });
}

}  // namespace espalier::kernels
