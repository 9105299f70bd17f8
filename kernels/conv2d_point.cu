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

  // The part of dx [down, right] that a pixel of dy reaches: its value first, then zeros.
  struct Cell {
    index_t offset = 0;
    int down = 0, right = 0;

    Cell() = default;
    __device__ Cell(const CellStore& of, index_t pixel) {
      if (pixel >= of.pixels) return;
      const index_t line = divide(pixel, of.columns), image = divide(line, of.rows);
      const int row = int(line - image * of.rows) * of.stride;
      const int column = int(pixel - line * of.columns) * of.stride;
      offset = (image * of.all_channels * of.height + row) * of.width + column;
      down = of.height - row < of.stride ? of.height - row : of.stride;
      right = of.width - column < of.stride ? of.width - column : of.stride;
    }
    __device__ void store(float* plane, int width, float value) const {
#pragma unroll 1
      for (int y = 0; y < down; ++y) {
#pragma unroll 1
        for (int x = 0; x < right; ++x) plane[offset + y * width + x] = x + y == 0 ? value : 0.0f;
      }
    }
  };

  struct Four {
    index_t group;
    PixelRun run;
    Cell cell[4];  // of a stride: where the pixels are, or the first two of the pairs that the lane stores
  };
  __device__ Four across(index_t group, index_t column) const {
    Four four{group, PixelRun(column, pixels, index_t(rows) * columns, all_channels), {}};
    if (stride == 1) return four;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      four.cell[i] = Cell(*this, in_pairs() ? first_of_pair(column, i % 2) : column + i);
    }
    return four;
  }
  __device__ void operator()(const Four& four, index_t row, const float (&values)[4]) const {
    const bool exists = row < channels;
    float* plane = dx + (four.group * channels + row) * height * width;
    if (in_pairs()) {
      store_pairs(exists ? plane : nullptr, four.cell, values);
    } else if (exists && stride == 1) {
      four.run.store(plane, aligned, values);
    } else if (exists) {
#pragma unroll
      for (int i = 0; i < 4; ++i) four.cell[i].store(plane, width, values[i]);
    }
  }

 private:
  __device__ bool in_pairs() const { return stride == 2 && aligned; }

  // Eight neighbouring lanes have 32 neighbouring pixels of a channel, four each (ThreadTile): exchanged, so that each
  // writes two of them at a time, they fill whole sectors. Rows of dy are even here.
  __device__ static int lane_of_pair(int half) { return half * 4 + int(threadIdx.x) % 8 / 2; }
  __device__ static index_t first_of_pair(index_t column, int half) {
    const int lane = int(threadIdx.x) % 8;
    return column + 4 * (lane_of_pair(half) - lane) + lane % 2 * 2;
  }
  __device__ void store_pairs(float* plane, const Cell (&first)[4], const float (&values)[4]) const {
    const bool high = threadIdx.x % 2 != 0;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float pixel[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) pixel[i] = __shfl_sync(kFullWarp, values[i], lane_of_pair(half), 8);
      const Cell& cell = first[half];
      if (plane == nullptr || cell.down == 0) continue;
      float* to = plane + cell.offset;
      simt::store_global(to, {high ? pixel[2] : pixel[0], 0.0f, high ? pixel[3] : pixel[1], 0.0f});
      if (cell.down > 1) simt::store_global(to + width, {0.0f, 0.0f, 0.0f, 0.0f});
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
