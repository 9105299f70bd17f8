// A GPU thread makes one element of the columns (im2col) or of the image (col2im): neighbouring threads write
// neighbouring floats and read neighbouring ones where the stride is 1. A CPU thread moves whole runs
// (conv2d_patches.h).
#include "kernels/im2col.h"

#include "kernels/conv2d_panels.h"
#include "kernels/rows.h"

namespace espalier::kernels {

index_t im2col_size(const Conv2dShape& s) {
  return s.channels * s.kernel_height * s.kernel_width * s.batch * s.out_height() * s.out_width();
}

namespace {

struct ColumnParameters : PatchGeometry {
  int channels;
  index_t batch;

  explicit ColumnParameters(const Conv2dShape& s) : PatchGeometry(s), channels(int(s.channels)), batch(s.batch) {}
};

// A row of the loop: one image's part of a row of the columns.
__global__ void im2col_kernel(ColumnParameters p, const float* __restrict__ x, float* __restrict__ columns) {
  const int plane = p.out_height * p.out_width;
  for_each_row(index_t(p.channels) * p.kernel_height * p.kernel_width * p.batch, [&](index_t row) {
    const int column_row = int(row / p.batch);
    const PatchEntry entry(column_row, p.kernel_height, p.kernel_width);
    const int down = entry.row * p.dilation - p.padding, right = entry.column * p.dilation - p.padding;
    const float* image = x + ((row - column_row * p.batch) * p.channels + entry.channel) * p.height * p.width;
    for_each_column(plane, [&](index_t pixel) {
      const int out_row = int(pixel) / p.out_width;
      const int in_row = out_row * p.stride + down, in_column = (int(pixel) - out_row * p.out_width) * p.stride + right;
      const bool inside = unsigned(in_row) < unsigned(p.height) && unsigned(in_column) < unsigned(p.width);
      columns[row * plane + pixel] = inside ? image[in_row * p.width + in_column] : 0.0f;
    });
  });
}

// A row of the loop: a channel of an image.
__global__ void col2im_kernel(ColumnParameters p, const float* __restrict__ columns, float* __restrict__ x) {
  const int in_plane = p.height * p.width, out_plane = p.out_height * p.out_width;
  for_each_row(p.batch * p.channels, [&](index_t plane) {
    const index_t image = plane / p.channels, channel = plane - image * p.channels;
    const float* first = columns + (channel * p.kernel_height * p.kernel_width * p.batch + image) * out_plane;
    for_each_column(in_plane, [&](index_t pixel) {
      const int in_row = int(pixel) / p.width, in_column = int(pixel) - in_row * p.width;
      float sum = 0.0f;
      for (int tap_row = 0; tap_row < p.kernel_height; ++tap_row) {
        const int from_row = in_row + p.padding - tap_row * p.dilation, row = from_row / p.stride;
        if (from_row < 0 || row * p.stride != from_row || row >= p.out_height) continue;
        for (int tap_column = 0; tap_column < p.kernel_width; ++tap_column) {
          const int from_column = in_column + p.padding - tap_column * p.dilation, column = from_column / p.stride;
          if (from_column < 0 || column * p.stride != from_column || column >= p.out_width) continue;
          const index_t tap = tap_row * p.kernel_width + tap_column;
          sum += first[tap * p.batch * out_plane + row * p.out_width + column];
        }
      }
      x[plane * in_plane + pixel] = sum;
    });
  });
}

__global__ void swap_outer_axes_kernel(index_t a, index_t b, index_t plane, const float* __restrict__ from,
                                       float* __restrict__ to) {
  for_each_row(a * b, [&](index_t row) {
    const index_t i = row / a, j = row - i * a;
    const float* source = from + (j * b + i) * plane;
    for_each_column(plane, [&](index_t k) { to[row * plane + k] = source[k]; });
  });
}

// ---- panels: a block is an image and some of its channels

template <int kLanes>
__global__ void im2col_panel_kernel(PanelCut cut, const float* x, float* columns) {
  const PixelBlock block = cut.blocks[blockIdx.x];
  const index_t plane = cut.geometry.y_plane(), pitch = cut.blocks.batch * plane;
  const int taps = cut.patch / cut.channels, first = int(blockIdx.y) * cut.channel_piece;
  const int channels = std::min(cut.channel_piece, cut.channels - first);
  gather_patches(cut.geometry, block, first * taps, channels * taps, x + block.image * cut.geometry.x_image,
                 columns + first * taps * pitch + block.image * plane, pitch, block.pixels());
}

template <int kLanes>
__global__ void col2im_panel_kernel(PanelCut cut, const float* columns, float* x) {
  const PixelBlock block = cut.blocks[blockIdx.x];
  const index_t plane = cut.geometry.y_plane(), pitch = cut.blocks.batch * plane;
  const int taps = cut.patch / cut.channels, first = int(blockIdx.y) * cut.channel_piece;
  const int channels = std::min(cut.channel_piece, cut.channels - first);
  x += block.image * cut.geometry.x_image;
  std::fill(x + first * cut.geometry.x_plane(), x + (first + channels) * cut.geometry.x_plane(), 0.0f);
  scatter_patches(cut.geometry, block, first * taps, channels * taps,
                  columns + first * taps * pitch + block.image * plane, pitch, x);
}

// Groups make no difference to the columns: cut as if there were one.
template <bool kOnCpu>
PanelCut column_cut(Conv2dShape shape) {
  shape.groups = 1;
  PanelCut cut(shape);
  cut.blocks = {.batch = shape.batch,
                .out_height = int(shape.out_height()),
                .out_width = int(shape.out_width()),
                .images = 1,
                .rows = int(shape.out_height()),
                .columns = int(shape.out_width())};
  constexpr index_t kBlockFloats = 64 * 1024;  // of columns: 256 KiB, a quarter of a core's second-level cache
  cut.channel_piece = even_piece(cut.channels, kBlockFloats * cut.channels / (cut.patch * cut.geometry.y_plane()));
  return cut;
}

template <bool kOnCpu>
void im2col_on(const Conv2dShape& shape, const float* x, float* columns, cudaStream_t stream) {
  if constexpr (kOnCpu) {
    const PanelCut cut = column_cut<true>(shape);
    simt::launch(im2col_panel_kernel<simt::kLanes>, panel_launch(cut.blocks.count(), cut.channel_pieces(), 0, stream),
                 cut, x, columns);
  } else {
    const index_t plane = shape.out_height() * shape.out_width();
    simt::launch(im2col_kernel, rows_grid(im2col_size(shape) / plane, plane, stream), ColumnParameters(shape), x,
                 columns);
  }
}

template <bool kOnCpu>
void col2im_on(const Conv2dShape& shape, const float* columns, float* x, cudaStream_t stream) {
  if constexpr (kOnCpu) {
    const PanelCut cut = column_cut<true>(shape);
    simt::launch(col2im_panel_kernel<simt::kLanes>, panel_launch(cut.blocks.count(), cut.channel_pieces(), 0, stream),
                 cut, columns, x);
  } else {
    simt::launch(col2im_kernel, rows_grid(shape.batch * shape.channels, shape.height * shape.width, stream),
                 ColumnParameters(shape), columns, x);
  }
}

}  // namespace

void im2col(const Conv2dShape& shape, const float* x, float* columns, cudaStream_t stream, Conv2dMethod method) {
  require_valid(shape, "im2col");
  if (resolve(method, shape, false) == Conv2dMethod::panels) {
    im2col_on<simt::kEmulated>(shape, x, columns, stream);
  } else {
    im2col_on<false>(shape, x, columns, stream);
  }
}

void col2im(const Conv2dShape& shape, const float* columns, float* x, cudaStream_t stream, Conv2dMethod method) {
  require_valid(shape, "col2im");
  if (resolve(method, shape, false) == Conv2dMethod::panels) {
    col2im_on<simt::kEmulated>(shape, columns, x, stream);
  } else {
    col2im_on<false>(shape, columns, x, stream);
  }
}

void swap_outer_axes(index_t a, index_t b, index_t plane, const float* from, float* to, cudaStream_t stream) {
  simt::launch(swap_outer_axes_kernel, rows_grid(a * b, plane, stream), a, b, plane, from, to);
}

}  // namespace espalier::kernels
