// The pools of pool2d.cu with windows of 2 x 2 that halve an image, on a GPU: a thread takes a whole window, forward
// and backward, two neighbours of a row at once where rows begin at multiples of 8 bytes. Bound by memory, where a
// thread for each element of dx, which looks for the windows that cover it, spends 200 instructions on it. Modelled on
// A100, max pools at batch 128, us: lenet-5's 20 x 24 x 24 forward 10.7 -> 9.6, backward 41.6 -> 9.9; seed-cnn's 64 x
// 11 x 11 7.6 -> 7.2 and 31.0 -> 8.4.
#pragma once
#include "kernels/rows.h"
#include "kernels/shapes.h"

namespace espalier::kernels {

// Pooling::halve(cell, output) takes a window, rows first.
template <class Pooling>
__global__ void halve_kernel(Pool2dShape shape, bool paired, const float* __restrict__ x, Pooling pooling) {
  const unsigned out_height = unsigned(shape.out_height()), out_width = unsigned(shape.out_width());
  for_each_row(shape.planes * out_height, [&](index_t row) {
    const unsigned plane = unsigned(row) / out_height, top = unsigned(row) % out_height * 2;
    const float* line = x + (index_t(plane) * shape.height + top) * shape.width;
    for_each_column(out_width, [&](index_t column) {
      const float *upper = line + 2 * column, *lower = upper + shape.width;
      float cell[4];
      if (paired) {
        const float2 high = *reinterpret_cast<const float2*>(upper), low = *reinterpret_cast<const float2*>(lower);
        cell[0] = high.x, cell[1] = high.y, cell[2] = low.x, cell[3] = low.y;
      } else {
        cell[0] = upper[0], cell[1] = upper[1], cell[2] = lower[0], cell[3] = lower[1];
      }
      pooling.halve(cell, row * out_width + column);
    });
  });
}

// Pooling::spread(output, cell) makes one. What lies beyond the last window of a row or column has no gradient.
template <class Pooling>
__global__ void halve_backward_kernel(Pool2dShape shape, bool paired, Pooling pooling, float* __restrict__ dx) {
  const unsigned height = unsigned(shape.height), width = unsigned(shape.width), bands = (height + 1) / 2;
  const unsigned out_height = unsigned(shape.out_height()), out_width = unsigned(shape.out_width());
  for_each_row(shape.planes * bands, [&](index_t row) {
    const unsigned plane = unsigned(row) / bands, band = unsigned(row) % bands;
    const index_t outputs = (index_t(plane) * out_height + band) * out_width;
    float* line = dx + (index_t(plane) * height + 2 * band) * width;
    const unsigned columns = band < out_height ? out_width : 0;
    const bool two_rows = 2 * band + 1 < height;
    for_each_column((width + 1) / 2, [&](index_t column) {
      float cell[4] = {};
      if (column < columns) pooling.spread(outputs + column, cell);
      float *upper = line + 2 * column, *lower = upper + width;
      const bool two_columns = 2 * column + 1 < width;
      if (paired) {
        *reinterpret_cast<float2*>(upper) = float2{cell[0], cell[1]};
        if (two_rows) *reinterpret_cast<float2*>(lower) = float2{cell[2], cell[3]};
        return;
      }
      upper[0] = cell[0];
      if (two_columns) upper[1] = cell[1];
      if (two_rows) lower[0] = cell[2];
      if (two_rows && two_columns) lower[1] = cell[3];
    });
  });
}

}  // namespace espalier::kernels
