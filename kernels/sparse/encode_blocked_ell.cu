// Blocked-ELL from block CSR and back: a thread for each row of a place, which it copies or clears.
#include "kernels/sparse/encode_blocked_ell.h"

#include "kernels/grid.h"
#include "kernels/require.h"

namespace espalier::kernels {
namespace {

__global__ void blocked_ell_places_kernel(index_t groups, const std::int32_t* __restrict__ row_offsets,
                                          std::int32_t* __restrict__ places) {
  for_each_element(groups, [&](index_t i) { atomicMax(places, row_offsets[i + 1] - row_offsets[i]); });
}

__global__ void blocked_ell_fill_kernel(BlockCsrView blocks, BlockedEllView to, std::int32_t* __restrict__ columns,
                                        float* __restrict__ values) {
  for_each_element(to.rows * to.places, [&](index_t i) {
    const index_t row = i / to.places, place = i % to.places, group = row / to.block;
    const index_t from = blocks.row_offsets[group] + place;
    const bool kept = from < blocks.row_offsets[group + 1];
    if (row % to.block == 0) columns[group * to.places + place] = kept ? blocks.column_indices[from] : -1;
    for (index_t c = 0; c < to.block; ++c) {
      values[i * to.block + c] = kept ? blocks.values[(from * to.block + row % to.block) * to.block + c] : 0.0f;
    }
  });
}

__global__ void blocked_ell_decode_kernel(BlockedEllView view, float* __restrict__ weight) {
  for_each_element(view.rows * view.places, [&](index_t i) {
    const index_t row = i / view.places, place = i % view.places;
    const index_t column = view.column_indices[row / view.block * view.places + place] * view.block;
    if (column < 0) return;
    for (index_t c = 0; c < view.block; ++c) {
      weight[row * view.columns + column + c] = view.values[i * view.block + c];
    }
  });
}

void clear(void* to, std::size_t bytes, cudaStream_t stream) {
  const cudaError_t status = cudaMemsetAsync(to, 0, bytes, stream);
  if (status != cudaSuccess) throw simt::LaunchError(std::string("blocked_ell: ") + cudaGetErrorString(status));
}

}  // namespace

void blocked_ell_places(const BlockCsrView& blocks, std::int32_t* places, cudaStream_t stream) {
  clear(places, sizeof *places, stream);
  const index_t groups = blocks.block_grid_rows();
  simt::launch(blocked_ell_places_kernel, elements_grid(groups, stream), groups, blocks.row_offsets, places);
}

void blocked_ell_fill(const BlockCsrView& blocks, const BlockedEllView& layout, std::int32_t* column_indices,
                      float* values, cudaStream_t stream) {
  require(blocks.block_rows == layout.block && blocks.block_columns == layout.block, "blocked_ell_fill: blocks are ",
          blocks.block_rows, " x ", blocks.block_columns, "; needs ", layout.block, " x ", layout.block);
  require(layout.rows % layout.block == 0 && layout.columns % layout.block == 0, "blocked_ell_fill: the weight is ",
          layout.rows, " x ", layout.columns, ", no multiple of ", layout.block);
  if (layout.places == 0) return;
  simt::launch(blocked_ell_fill_kernel, elements_grid(layout.rows * layout.places, stream), blocks, layout,
               column_indices, values);
}

void blocked_ell_decode(const BlockedEllView& view, float* weight, cudaStream_t stream) {
  clear(weight, sizeof(float) * std::size_t(view.rows * view.columns), stream);
  if (view.places == 0) return;
  simt::launch(blocked_ell_decode_kernel, elements_grid(view.rows * view.places, stream), view, weight);
}

}  // namespace espalier::kernels
