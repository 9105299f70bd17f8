// The launchers behind conv2d_tensor_core.h, for one format of operands: a source file each. All three directions are
// products of tensor_core_product.h, one of its batch for each group, with channels and filters padded to eights:
//   forward          y  [filters, pixels]        = w [filters, taps * channels] * patches gathered from x
//   input gradient   dx [channels, inputs]       = w' [channels, taps * filters] * patches gathered from dy; one
//                    product a phase, stride * stride of them, which share their taps (conv2d_tiles.h)
//   weight gradient  dw [filters, taps * channels] = dy' [filters, pixels] * patches of x, k split over blocks
#pragma once
#include <numeric>

#include "kernels/conv2d_gather_loaders.h"
#include "kernels/conv2d_tensor_core_products.h"
#include "kernels/gemm_epilogue.h"
#include "kernels/layout.h"
#include "kernels/repack.h"
#include "kernels/require.h"

namespace espalier::kernels::detail {

// C [64, 128] by two warps of 64 x 64: for layers of up to 64 filters. Without cp.async, copies in flight need
// registers that it does not have.
struct TensorFlatTile {
  static constexpr bool kAsyncOnly = true;
  static constexpr int kM = 64, kN = 128, kK = 32, kWarpM = 64, kWarpN = 64, kThreads = 64, kStages = 3, kBlocks = 4;
};

inline index_t eights(index_t channels) { return ceil_div<index_t>(channels, 8) * 8; }

// Where results lie: elements from one image, channel (with the group's), row and column to the next.
struct PixelStrides {
  index_t image, group, channel, row, column;
};

// Sums [channel, pixel] to y, with bias and a straight activation. Four pixels at once where they are neighbours.
struct PixelStore {
  float* y;
  index_t channels, pixels, group_channels;
  unsigned rows, columns;  // of the pixels of an image
  PixelStrides to;
  const float* bias;
  float slope;  // below zero: 1 leaves the number alone, 0 is relu
  bool joined;  // the pixels of an image are neighbours, in fours that are aligned

  // Where the pixels lie in every channel; their number fits 31 bits (conv2d_tensor_core.cu, on_tensor_cores()).
  struct Four {
    index_t group, place[4];
    int count;
  };
  __device__ Four across(index_t group, index_t pixel) const {
    Four four{.group = group, .place = {}, .count = int(pixels - pixel)};
    const unsigned line = unsigned(pixel) / columns;
    unsigned column = unsigned(pixel) - line * columns, image = line / rows, row = line - image * rows;
#pragma unroll
    for (index_t& place : four.place) {
      place = group * to.group + index_t(image) * to.image + index_t(row) * to.row + index_t(column) * to.column;
      if (++column == columns) column = 0, ++row;
      if (row == rows) row = 0, ++image;
    }
    return four;
  }
  __device__ void operator()(const Four& four, index_t channel, const float (&sums)[4]) const {
    if (channel >= channels || four.count <= 0) return;
    float* from = y + channel * to.channel;
    const float shift = shift_of(four, channel);
    float values[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) values[i] = bent(sums[i] + shift);
    if (joined) return store_four(from + four.place[0], four.count, true, values);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (i < four.count) from[four.place[i]] = values[i];
    }
  }
  // The first of them alone.
  __device__ void put(const Four& four, index_t channel, float sum) const {
    if (channel >= channels || four.count <= 0) return;
    y[channel * to.channel + four.place[0]] = bent(sum + shift_of(four, channel));
  }

 private:
  __device__ float shift_of(const Four& four, index_t channel) const {
    return bias == nullptr ? 0.0f : bias[four.group * group_channels + channel];
  }
  __device__ float bent(float value) const {
    const float below = slope == 0.0f ? 0.0f : slope * value;  // not 0 * -inf
    return value <= 0.0f && slope != 1.0f ? below : value;
  }
};

// x [batch, channels, height, width] or nhwc as the loaders want it; copied into scratch unless it is already so.
template <class T>
NhwcView<T> packed_images(Scratch& scratch, Conv2dLayout layout, const T* x, index_t batch, index_t channels,
                          index_t height, index_t width, index_t groups, cudaStream_t stream) {
  const index_t area = height * width, own = channels / groups, padded = eights(own);
  NhwcView<T> view{.height = int(height), .width = int(width)};
  const bool ready = layout == Conv2dLayout::nhwc && own == padded && reinterpret_cast<std::uintptr_t>(x) % 16 == 0;
  if (ready) {
    view.data = x, view.image = area * channels, view.group = own;
    view.pixel = int(channels), view.channels = int(own);
    return view;
  }
  T* y = scratch.take<T>(groups * batch * area * padded);
  view.data = y, view.image = area * padded, view.group = batch * area * padded;
  view.pixel = int(padded), view.channels = int(padded);
  if (scratch.counts_only()) return view;
  if (layout == Conv2dLayout::nchw && groups == 1) {
    nchw_to_nhwc({batch, channels, area}, padded, x, y, stream);
  } else {
    const bool nhwc = layout == Conv2dLayout::nhwc;
    repack({.sizes = {groups, 1, batch, area, own},
            .strides = {nhwc ? own : own * area, 0, channels * area, nhwc ? channels : 1, nhwc ? 1 : area},
            .padded = padded},
           x, y, stream);
  }
  return view;
}

// Strides of w for indices (filter, channel, tap row, tap column).
struct WeightStrides {
  index_t filter, channel, row, column;

  WeightStrides(const Conv2dShape& s, Conv2dLayout layout) {
    const bool nhwc = layout == Conv2dLayout::nhwc;
    filter = s.patch();
    channel = nhwc ? 1 : s.kernel_height * s.kernel_width;
    column = nhwc ? s.channels_per_group() : 1;
    row = column * s.kernel_width;
  }
};

// The operand A of forward: [groups * filters, taps, padded channels].
template <class T>
NarrowView<T> packed_filters(Scratch& scratch, const Conv2dShape& s, Conv2dLayout layout, const T* w,
                             cudaStream_t stream) {
  const index_t own = s.channels_per_group(), padded = eights(own), filters = s.filters_per_group();
  const index_t leading = s.kernel_height * s.kernel_width * padded;
  const bool ready = layout == Conv2dLayout::nhwc && own == padded && reinterpret_cast<std::uintptr_t>(w) % 16 == 0;
  T* to = ready ? nullptr : scratch.take<T>(s.filters * leading);
  if (!ready && !scratch.counts_only()) {
    const WeightStrides from(s, layout);
    repack({.sizes = {1, s.filters, s.kernel_height, s.kernel_width, own},
            .strides = {0, from.filter, from.row, from.column, from.channel},
            .padded = padded},
           w, to, stream);
  }
  return {ready ? w : to, leading, filters, true, filters * leading};
}

// visit(tile) with the tile for products of so many rows.
template <class T, class Visit>
void with_tile_for(index_t rows, const Visit& visit) {
  if (rows > TensorFlatTile::kM) return visit(TensorLargeTile{});
  if constexpr (std::is_same_v<T, half>) {  // the one format of hardware without cp.async
    if (!has_tensor_cores_for(Precision::tf32)) return visit(TensorSmallTile{});
  }
  visit(TensorFlatTile{});
}

template <class T, class Store>
void gather_product(const ProductShape& product, const NarrowView<T>& a, const GatherView<T>& b, const Store& store,
                    cudaStream_t stream) {
  with_tile_for<T>(product.m, [&]<class Tile>(Tile) {
    using LoaderA = ChunkLoader<Tile, Side::a, T, Along::depth, false>;
    using LoaderB = PixelLoader<Tile, Side::b, T>;
    tensor_core_product<Tile, LoaderA, LoaderB>(product_grid<Tile>(product, 0), a, b, store, stream);
  });
}

// The output pixels, and where their patches lie in the image.
inline PixelGrid output_grid(const Conv2dShape& s) {
  const index_t rows = s.out_height(), columns = s.out_width();
  return {.pixels = s.batch * rows * columns,
          .rows = int(rows),
          .columns = int(columns),
          .tap_rows = int(s.kernel_height),
          .tap_columns = int(s.kernel_width),
          .scale = int(s.stride),
          .row_shift = -int(s.padding),
          .column_shift = -int(s.padding),
          .step = int(s.dilation)};
}

template <class T>
void forward_on_tensor_cores(const Conv2dShape& s, Conv2dLayout layout, const T* x, const T* w, const float* bias,
                             float* y, float slope, Scratch& scratch, cudaStream_t stream) {
  const auto source = packed_images(scratch, layout, x, s.batch, s.channels, s.height, s.width, s.groups, stream);
  const NarrowView<T> weights = packed_filters(scratch, s, layout, w, stream);
  if (scratch.counts_only()) return;
  const index_t rows = s.out_height(), columns = s.out_width(), plane = rows * columns, own = s.filters_per_group();
  const PixelGrid grid = output_grid(s);
  const bool nhwc = layout == Conv2dLayout::nhwc;
  const PixelStrides to = nhwc ? PixelStrides{plane * s.filters, own, 1, columns * s.filters, s.filters}
                               : PixelStrides{plane * s.filters, own * plane, plane, columns, 1};
  const PixelStore store{.y = y,
                         .channels = own,
                         .pixels = grid.pixels,
                         .group_channels = own,
                         .rows = unsigned(rows),
                         .columns = unsigned(columns),
                         .to = to,
                         .bias = bias,
                         .slope = slope,
                         .joined = !nhwc && rows_aligned(y, plane)};
  gather_product<T>({.m = own, .n = grid.pixels, .k = weights.leading, .batch = s.groups}, weights, {source, grid},
                    store, stream);
}

// One phase of the input gradient: inputs phase + a * stride along each axis (conv2d_tiles.h, AxisPhase).
template <class T>
void input_phase(const Conv2dShape& s, Conv2dLayout layout, const NhwcView<T>& source, const GradientTaps& taps,
                 int row_phase, int column_phase, const T* w, T* turned, float* dx, cudaStream_t stream) {
  const AxisPhase rows(taps, row_phase, taps.kernel_height), columns(taps, column_phase, taps.kernel_width);
  const index_t own = s.channels_per_group(), filters = s.filters_per_group(), padded = source.channels;
  const index_t leading = index_t(rows.taps) * columns.taps * padded;
  const WeightStrides from(s, layout);
  if (leading > 0) {
    repack({.sizes = {s.groups, own, rows.taps, columns.taps, filters},
            .strides = {filters * from.filter, from.channel, taps.period * from.row, taps.period * from.column,
                        from.filter},
            .padded = padded},
           w + rows.first_tap * from.row + columns.first_tap * from.column, turned, stream);
  }
  const auto inputs = [&](index_t size, int phase) { return phase < size ? (size - 1 - phase) / s.stride + 1 : 0; };
  const index_t input_rows = inputs(s.height, row_phase), input_columns = inputs(s.width, column_phase);
  const PixelGrid grid{.pixels = s.batch * input_rows * input_columns,
                       .rows = int(input_rows),
                       .columns = int(input_columns),
                       .tap_rows = std::max(rows.taps, 1),
                       .tap_columns = std::max(columns.taps, 1),
                       .row_shift = rows.shift,
                       .column_shift = columns.shift,
                       .step = -int(taps.period * s.dilation / s.stride)};
  if (grid.pixels == 0) return;
  const bool nhwc = layout == Conv2dLayout::nhwc;
  const index_t plane = s.height * s.width, pixel = nhwc ? s.channels : 1;
  float* to = dx + (row_phase * s.width + column_phase) * pixel;
  const PixelStore store{.y = to,
                         .channels = own,
                         .pixels = grid.pixels,
                         .group_channels = own,
                         .rows = unsigned(input_rows),
                         .columns = unsigned(input_columns),
                         .to = {plane * s.channels, nhwc ? own : own * plane, nhwc ? 1 : plane,
                                s.stride * s.width * pixel, s.stride * pixel},
                         .bias = nullptr,
                         .slope = 1.0f,
                         .joined = !nhwc && s.stride == 1 && rows_aligned(dx, plane)};
  const NarrowView<T> weights{turned, leading, own, true, own * leading};
  gather_product<T>({.m = own, .n = grid.pixels, .k = leading, .batch = s.groups}, weights, {source, grid}, store,
                    stream);
}

template <class T>
void backward_input_on_tensor_cores(const Conv2dShape& s, Conv2dLayout layout, const T* dy, const T* w, float* dx,
                                    Scratch& scratch, cudaStream_t stream) {
  const auto source =
      packed_images(scratch, layout, dy, s.batch, s.filters, s.out_height(), s.out_width(), s.groups, stream);
  const index_t taps_size = s.channels * s.kernel_height * s.kernel_width * source.channels;
  T* turned = scratch.take<T>(taps_size);  // of one phase after the other
  if (scratch.counts_only()) return;
  const GradientTaps taps{.kernel_height = int(s.kernel_height),
                          .kernel_width = int(s.kernel_width),
                          .stride = int(s.stride),
                          .padding = int(s.padding),
                          .dilation = int(s.dilation),
                          .period = int(s.stride / std::gcd(s.stride, s.dilation))};
  for (int row = 0; row < s.stride; ++row) {
    for (int column = 0; column < s.stride; ++column) {
      input_phase(s, layout, source, taps, row, column, w, turned, dx, stream);
    }
  }
}

}  // namespace espalier::kernels::detail
