// From the registers of a panel product to y [batch, rows]: a team holds neighbouring rows of y^T, each a strip of
// neighbouring samples. Rows are contiguous in y, so a lane writes all its rows of one sample together (32 bytes, a
// whole sector, for 8 rows); a CPU thread transposes squares in vector registers.
#pragma once
#include "kernels/simt/strip.h"
#include "kernels/sparse/row_product.h"

namespace espalier::kernels {

struct PanelStore {
  index_t batch, rows;        // extents of y
  index_t sample, first_row;  // of the first element of sums
};

template <int kRows, class Strip>
__device__ inline void finish_rows(const PanelStore& store, const BiasActivation& epilogue, Strip (&sums)[kRows]) {
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    if (store.first_row + r < store.rows) finish(epilogue, store.first_row + r, sums[r]);
  }
}

template <int kRows, int kWidth>
__device__ inline void store_sums(const PanelStore& store, const BiasActivation& epilogue,
                                  simt::Strip<kWidth> (&sums)[kRows], float* y) {
  finish_rows(store, epilogue, sums);
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
        if (whole && r % 4 == 0) {
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
