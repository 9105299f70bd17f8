// dx = w' * dy for 1x1 kernels (conv2d_point.h), by tiles: both operands and, of a stride of 1 or 2, the result are
// read and written in runs. Costs flops(), dx written once.
#include "kernels/conv2d_point.h"

#include "kernels/conv2d_tiles.h"
#include "kernels/warp.h"

namespace espalier::kernels {
namespace {

// The cells of dx [images, channels, height, width] that begin with the columns of the product.
struct CellStore {
  float* dx;
  index_t channels, all_channels;  // channels: of a group
  int rows, columns;               // of dy
  index_t pixels;                  // of all images
  int height, width, stride;
  bool aligned;  // stride 1: planes begin at multiples of 16 bytes; 2: every row of dx does

  template <int kCount>
  __device__ void operator()(index_t group, index_t row, index_t column, const float (&values)[kCount]) const {
    const bool exists = row < channels;
    const index_t channel = group * channels + row;
    if (stride == 1) {
      if (exists && column < pixels) store_run_of_pixels(channel, column, values);
    } else if (stride == 2 && aligned) {
      store_pairs_of_cells(exists, channel, column, values);
    } else {
      for (int i = 0; exists && i < kCount && column + i < pixels; ++i) store_cell(channel, column + i, values[i]);
    }
  }

 private:
  template <int kCount>
  __device__ void store_run_of_pixels(index_t channel, index_t column, const float (&values)[kCount]) const {
    const index_t plane = index_t(rows) * columns, image = divide(column, plane), pixel = column - image * plane;
    store_pixels(dx + (image * all_channels + channel) * plane + pixel, pixel, pixels - column, plane, all_channels,
                 aligned, values);
  }

  // Where the cell of a pixel begins, and which row of dx that is.
  __device__ float* cell(index_t channel, index_t pixel, int& row) const {
    const index_t line = divide(pixel, columns), image = divide(line, rows);
    row = int(line - image * rows) * stride;
    return dx + ((image * all_channels + channel) * height + row) * width + (pixel - line * columns) * stride;
  }

  // Eight neighbouring lanes have 32 neighbouring pixels of a channel, four each (ThreadTile): exchanged, so that each
  // writes two of them at a time, they fill whole sectors. Rows of dy are even here.
  __device__ void store_pairs_of_cells(bool exists, index_t channel, index_t column, const float (&values)[4]) const {
    const int lane = int(threadIdx.x) % 8;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int from = half * 4 + lane / 2;
      float pixel[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) pixel[i] = __shfl_sync(kFullWarp, values[i], from, 8);
      const bool high = lane % 2 != 0;
      const index_t first = column + 4 * (from - lane) + (high ? 2 : 0);
      if (!exists || first >= pixels) continue;
      int row = 0;
      float* to = cell(channel, first, row);
      simt::store_global(to, {high ? pixel[2] : pixel[0], 0.0f, high ? pixel[3] : pixel[1], 0.0f});
      if (row + 1 < height) simt::store_global(to + width, {0.0f, 0.0f, 0.0f, 0.0f});
    }
  }

  __device__ void store_cell(index_t channel, index_t pixel, float value) const {
    int row = 0;
    float* to = cell(channel, pixel, row);
    const int left = int(pixel % columns) * stride;
    for (int down = 0; down < stride && row + down < height; ++down) {
      for (int right = 0; right < stride && left + right < width; ++right) {
        to[down * width + right] = down + right == 0 ? value : 0.0f;
      }
    }
  }
};

}  // namespace

void conv2d_backward_input_point(const Conv2dShape& s, const float* dy, const float* w, float* dx,
                                 cudaStream_t stream) {
  const int rows = int(s.out_height()), columns = int(s.out_width());
  const index_t pixels = s.batch * rows * columns, plane = index_t(rows) * columns;
  const CellStore store{.dx = dx,
                        .channels = s.channels_per_group(),
                        .all_channels = s.channels,
                        .rows = rows,
                        .columns = columns,
                        .pixels = pixels,
                        .height = int(s.height),
                        .width = int(s.width),
                        .stride = int(s.stride),
                        .aligned = rows_aligned(dx, s.stride == 1 ? plane : s.width)};
  const GatherParameters gather{.source = dy,
                                .height = rows,
                                .width = columns,
                                .image = s.filters * plane,
                                .group = s.filters_per_group() * plane,
                                .pixel_rows = rows,
                                .pixel_columns = columns,
                                .pixels = pixels};
  const MatrixView weights{w, s.channels_per_group(), s.channels_per_group(),
                           s.filters_per_group() * s.channels_per_group()};
  const ProductShape product{.m = s.channels_per_group(), .n = pixels, .k = s.filters_per_group(), .batch = s.groups};
  with_conv2d_tile(product, [&]<class Tile>(Tile) {
    whole_product<Tile, WideLoader<Tile, Side::a, 1>, GatherLoader<Tile>>(product, weights, gather, store, stream);
  });
}

}  // namespace espalier::kernels
