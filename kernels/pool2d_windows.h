// The pools of pool2d.cu with windows of 2 x 2 that halve an image and of 3 x 3 at stride 2, on a GPU: a thread takes
// a whole window forward, and backward the four elements of dx that the same windows cover. Of 2 x 2 two neighbours of
// a row are one access where rows begin at multiples of 8 bytes. A thread for each element of dx, which looks for the
// windows that cover it, spent 120 to 200 instructions on it, more time than its memory. Modelled on A100, max pools,
// us: lenet-5's 20 x 24 x 24 at batch 128 forward 10.7 -> 9.6, backward 41.6 -> 9.9; seed-cnn's 64 x 11 x 11 7.6 ->
// 7.2 and 31.0 -> 8.4; 3 x 3 on 64 x 112 x 112 at batch 32 174 -> 142 and 346 -> 134.
#pragma once
#include "kernels/rows.h"
#include "kernels/shapes.h"

namespace espalier::kernels {

// Pooling::take(window, inside, output): rows first, a bit for each element that is inside the image.
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
      pooling.take(cell, 0xFu, row * out_width + column);
    });
  });
}

// Pooling::share(output).of(place) goes to each place of a window. What lies beyond the last window of a row or column
// has no gradient.
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
      if (column < columns) {
        const auto share = pooling.share(outputs + column);
#pragma unroll
        for (int i = 0; i < 4; ++i) cell[i] = share.of(i);
      }
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

// Windows of 3 x 3 at stride 2, which overlap and may reach into padding.
template <class Pooling>
__global__ void three_kernel(Pool2dShape shape, const float* __restrict__ x, Pooling pooling) {
  const unsigned out_height = unsigned(shape.out_height()), height = unsigned(shape.height);
  const unsigned width = unsigned(shape.width);
  for_each_row(shape.planes * shape.out_height(), [&](index_t row) {
    const unsigned plane = unsigned(row) / out_height;
    const int top = int(unsigned(row) % out_height) * 2 - int(shape.padding);
    const float* line = x + (index_t(plane) * height + top) * width;
    for_each_column(shape.out_width(), [&](index_t column) {
      const int left = int(column) * 2 - int(shape.padding);
      float window[9];
      unsigned inside = 0;
#pragma unroll
      for (int i = 0; i < 9; ++i) {
        const bool is = unsigned(top + i / 3) < height && unsigned(left + i % 3) < width;
        window[i] = is ? line[i / 3 * index_t(width) + left + i % 3] : 0.0f;
        inside |= is ? 1u << i : 0u;
      }
      pooling.take(window, inside, row * shape.out_width() + column);
    });
  });
}

// A thread takes the 2 x 2 elements of dx, counted from the padding's border, that the same four windows cover: the
// first of them all four, the last one alone. Sums in the order of the windows.
template <class Pooling>
__global__ void three_backward_kernel(Pool2dShape shape, Pooling pooling, float* __restrict__ dx) {
  const int padding = int(shape.padding), height = int(shape.height), width = int(shape.width);
  const int out_height = int(shape.out_height()), out_width = int(shape.out_width());
  const unsigned bands = unsigned(height + padding + 1) / 2;
  for_each_row(shape.planes * bands, [&](index_t row) {
    const unsigned plane = unsigned(row) / bands;
    const int band = int(unsigned(row) % bands), top = 2 * band - padding;
    const index_t outputs = (index_t(plane) * out_height + band) * out_width;
    float* line = dx + (index_t(plane) * height + top) * width;
    for_each_column((width + padding + 1) / 2, [&](index_t column) {
      const int pair = int(column), left = 2 * pair - padding;
      const auto share = [&](int up, int before) {
        const bool is = unsigned(band - up) < unsigned(out_height) && unsigned(pair - before) < unsigned(out_width);
        return is ? pooling.share(outputs - up * out_width + pair - before) : Pooling::none();
      };
      const auto above_left = share(1, 1), above = share(1, 0), beside = share(0, 1), own = share(0, 0);
      const auto put = [&](int down, int right, float sum) {
        const bool is = unsigned(top + down) < unsigned(height) && unsigned(left + right) < unsigned(width);
        if (is) line[down * index_t(width) + left + right] = sum;
      };
      put(0, 0, above_left.of(8) + above.of(6) + beside.of(2) + own.of(0));
      put(0, 1, above.of(7) + own.of(1));
      put(1, 0, beside.of(5) + own.of(3));
      put(1, 1, own.of(4));
    });
  });
}

}  // namespace espalier::kernels
