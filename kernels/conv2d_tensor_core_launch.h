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
#include "kernels/pool_math.h"
#include "kernels/repack.h"
#include "kernels/require.h"

namespace espalier::kernels::detail {

// C [64, 128] by two warps of 64 x 64: for layers of up to 64 filters. Without cp.async, copies in flight need
// registers that it does not have.
struct TensorFlatTile {
  static constexpr bool kAsyncOnly = true;
  static constexpr int kM = 64, kN = 128, kK = 32, kWarpM = 64, kWarpN = 64, kThreads = 64, kStages = 3, kBlocks = 4;
};

// Where results lie: elements from one image, channel (with the group's), row and column to the next.
struct PixelStrides {
  index_t image, group, channel, row, column;
};

template <class T>
__device__ inline T as_operand(float x) {
  if constexpr (std::is_same_v<T, float>) {
    return round_to_tf32(x);
  } else {
    return from_float<T>(x);
  }
}

// Sums [channel, pixel] to y, with bias and a straight activation. Four pixels at once where they are neighbours. Where
// outputs are pooled, four sums are a window, whose largest is a pixel of y. To the next convolution's operand instead
// they go rounded: eight lanes have eight channels of a pixel.
template <class T>
struct PixelStore {
  float* y;
  index_t channels, pixels, group_channels;
  unsigned rows, columns;  // of the pixels of an image
  PixelStrides to;
  const float* bias;
  float slope;  // below zero: 1 leaves the number alone, 0 is relu
  bool joined;  // the pixels of an image are neighbours, in fours that are aligned
  bool pooled = false;
  T* operand = nullptr;  // in place of y

  // Where the pixels lie in every channel; their number fits 31 bits (conv2d_tensor_core.cu, on_tensor_cores()).
  struct Four {
    index_t group, place[4];
    int count;
  };
  __device__ Four across(index_t group, index_t pixel) const {
    if (pooled) pixel /= 4;
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
    if (pooled) return put(four, channel, larger(larger(sums[0], sums[1]), larger(sums[2], sums[3])));
    const index_t first = channel * to.channel;
    const float shift = shift_of(four, channel);
    float values[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) values[i] = bent(sums[i] + shift);
    if (joined) return store_four(y + first + four.place[0], four.count, true, values);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (i < four.count) store(first + four.place[i], values[i]);
    }
  }
  // The first of them alone.
  __device__ void put(const Four& four, index_t channel, float sum) const {
    if (channel >= channels || four.count <= 0) return;
    store(channel * to.channel + four.place[0], bent(sum + shift_of(four, channel)));
  }

 private:
  __device__ void store(index_t place, float value) const {
    if (operand != nullptr) {
      operand[place] = as_operand<T>(value);
    } else {
      y[place] = value;
    }
  }
  __device__ static float larger(float x, float y) { return wins(y, x) ? y : x; }
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

// x [batch, channels, height, width] in fp32, rounded into nhwc in one pass, channels padded to eights; in two for
// several groups whose channels are no eights.
template <class T>
NhwcView<T> images_at(const Conv2dShape& s, const T* x) {
  const index_t channels = eights(s.channels);
  NhwcView<T> view{.data = x, .image = s.height * s.width * channels, .group = s.channels_per_group()};
  view.pixel = int(channels), view.channels = int(channels / s.groups);
  view.height = int(s.height), view.width = int(s.width);
  return view;
}
template <class T>
NhwcView<T> rounded_images(Scratch& scratch, const Conv2dShape& s, const float* x, cudaStream_t stream) {
  const index_t own = s.channels_per_group(), area = s.height * s.width, channels = eights(s.channels);
  if (s.groups > 1 && own % 8 != 0) {
    T* narrow = scratch.take<T>(s.input_size());
    if (!scratch.counts_only()) {
      if constexpr (sizeof(T) == sizeof(float)) {
        round_to_tf32(s.input_size(), x, narrow, stream);
      } else {
        convert(s.input_size(), x, narrow, stream);
      }
    }
    return packed_images(scratch, Conv2dLayout::nchw, narrow, s.batch, s.channels, s.height, s.width, s.groups, stream);
  }
  using Rounded = std::conditional_t<std::is_same_v<T, float>, Tf32, T>;
  T* y = scratch.take<T>(s.batch * area * channels);
  if (!scratch.counts_only()) {
    nchw_to_nhwc({s.batch, s.channels, area}, channels, x, reinterpret_cast<Rounded*>(y), stream);
  }
  return images_at<T>(s, y);
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
NarrowView<T> filters_at(const Conv2dShape& s, const T* w) {
  const index_t leading = arranged_filter(s), filters = s.filters_per_group();
  return {w, leading, filters, true, filters * leading};
}
template <class T>
void arrange_filters(const Conv2dShape& s, Conv2dLayout layout, const T* w, T* arranged, cudaStream_t stream) {
  const WeightStrides from(s, layout);
  repack({.sizes = {1, s.filters, s.kernel_height, s.kernel_width, s.channels_per_group()},
          .strides = {0, from.filter, from.row, from.column, from.channel},
          .padded = eights(s.channels_per_group())},
         w, arranged, stream);
}
template <class T>
NarrowView<T> packed_filters(Scratch& scratch, const Conv2dShape& s, Conv2dLayout layout, const T* w,
                             cudaStream_t stream) {
  const bool eight = s.channels_per_group() % 8 == 0;
  if (layout == Conv2dLayout::nhwc && eight && reinterpret_cast<std::uintptr_t>(w) % 16 == 0) return filters_at(s, w);
  T* to = scratch.take<T>(s.filters * arranged_filter(s));
  if (!scratch.counts_only()) arrange_filters(s, layout, w, to, stream);
  return filters_at<T>(s, to);
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

// The same by windows of 2 x 2 of them.
inline PixelGrid window_grid(const Conv2dShape& s) {
  PixelGrid grid = output_grid(s);
  grid.rows /= 2, grid.columns /= 2, grid.scale *= 2, grid.by_windows = true;
  grid.pixels = s.batch * grid.rows * grid.columns * 4;
  return grid;
}

template <class T>
void forward_product(const Conv2dShape& s, Conv2dLayout layout, ConvPool pool, const NhwcView<T>& source,
                     const NarrowView<T>& weights, const float* bias, float* y, T* operand, float slope,
                     cudaStream_t stream) {
  const bool pooled = pool == ConvPool::halves;
  const PixelGrid grid = pooled ? window_grid(s) : output_grid(s);
  const index_t rows = grid.rows, columns = grid.columns, plane = rows * columns, own = s.filters_per_group();
  const bool nhwc = layout == Conv2dLayout::nhwc;
  const PixelStrides to = nhwc ? PixelStrides{plane * s.filters, own, 1, columns * s.filters, s.filters}
                               : PixelStrides{plane * s.filters, own * plane, plane, columns, 1};
  const PixelStore<T> store{.y = y,
                            .channels = own,
                            .pixels = s.batch * plane,
                            .group_channels = own,
                            .rows = unsigned(rows),
                            .columns = unsigned(columns),
                            .to = to,
                            .bias = bias,
                            .slope = slope,
                            .joined = !nhwc && rows_aligned(y, plane),
                            .pooled = pooled,
                            .operand = operand};
  gather_product<T>({.m = own, .n = grid.pixels, .k = weights.leading, .batch = s.groups}, weights, {source, grid},
                    store, stream);
}

template <class T>
void forward_on_tensor_cores(const Conv2dShape& s, Conv2dLayout layout, const T* x, const T* w, const float* bias,
                             float* y, float slope, Scratch& scratch, cudaStream_t stream) {
  const auto source = packed_images(scratch, layout, x, s.batch, s.channels, s.height, s.width, s.groups, stream);
  const NarrowView<T> weights = packed_filters(scratch, s, layout, w, stream);
  if (scratch.counts_only()) return;
  forward_product<T>(s, layout, ConvPool::none, source, weights, bias, y, nullptr, slope, stream);
}

template <class T>
void forward_arranged(const Conv2dShape& s, const ConvImages<T>& images, const T* arranged, const float* bias,
                      float slope, ConvPool pool, Scratch& scratch, cudaStream_t stream) {
  const bool turned = images.x_operand != nullptr;
  const auto source = turned ? images_at(s, images.x_operand) : rounded_images<T>(scratch, s, images.x, stream);
  if (scratch.counts_only() && !turned) return;
  const Conv2dLayout layout = images.y_operand != nullptr ? Conv2dLayout::nhwc : Conv2dLayout::nchw;
  forward_product(s, layout, pool, source, filters_at(s, arranged), bias, images.y, images.y_operand, slope, stream);
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
  const PixelStore<T> store{.y = to,
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
NhwcView<T> packed_gradient(Scratch& scratch, const Conv2dShape& s, Conv2dLayout layout, const T* dy,
                            cudaStream_t stream) {
  return packed_images(scratch, layout, dy, s.batch, s.filters, s.out_height(), s.out_width(), s.groups, stream);
}

template <class T>
void input_gradient(const Conv2dShape& s, Conv2dLayout layout, const NhwcView<T>& source, const T* w, float* dx,
                    Scratch& scratch, cudaStream_t stream) {
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

template <class T>
void backward_input_on_tensor_cores(const Conv2dShape& s, Conv2dLayout layout, const T* dy, const T* w, float* dx,
                                    Scratch& scratch, cudaStream_t stream) {
  input_gradient(s, layout, packed_gradient(scratch, s, layout, dy, stream), w, dx, scratch, stream);
}

}  // namespace espalier::kernels::detail
