// The patches of a convolution as panels in the cache, for kernels whose block is one CPU thread: row k of a panel
// holds what weight k = (channel, kernel row, kernel column) meets at each pixel of a block of output pixels.
// Gathering costs one read and one write of patch() floats per pixel, in runs along the width; scattering adds them
// back. Taps that fall into the padding are clipped once per weight, never tested per element.
#pragma once
#include <algorithm>
#include <cstring>

#include "kernels/conv2d_geometry.h"
#include "kernels/grid.h"
#include "kernels/shapes.h"
#include "kernels/simt/panels.h"

namespace espalier::kernels {

// Output pixels [images, rows, columns], `row` and `column` the first of each image.
struct PixelBlock {
  index_t image = 0;
  int images = 0, row = 0, rows = 0, column = 0, columns = 0;
  int pixels() const { return images * rows * columns; }
};

// All output pixels of a batch, cut into blocks of one size; the last of each axis may be smaller.
struct PixelBlocks {
  index_t batch = 0;
  int out_height = 0, out_width = 0;
  int images = 1, rows = 0, columns = 0;  // of a whole block

  index_t along_batch() const { return ceil_div<index_t>(batch, images); }
  int along_height() const { return ceil_div(out_height, rows); }
  int along_width() const { return ceil_div(out_width, columns); }
  index_t per_image_group() const { return index_t(along_height()) * along_width(); }
  index_t count() const { return along_batch() * per_image_group(); }
  int pixels() const { return images * rows * columns; }

  PixelBlock operator[](index_t i) const {
    const int column = int(i % along_width()) * columns, row = int(i / along_width() % along_height()) * rows;
    const index_t image = i / per_image_group() * images;
    return {image,  int(std::min<index_t>(images, batch - image)), row, std::min(rows, out_height - row),
            column, std::min(columns, out_width - column)};
  }
};

// `all` (whose blocks are unset) in blocks of at most `most_pixels`, cut where the fewest lanes of the last vectors
// stay empty; an image's rows in multiples of `row_unit`.
inline PixelBlocks pixel_blocks(PixelBlocks all, int most_pixels, int row_unit = 1) {
  PixelBlocks blocks = all;
  most_pixels = std::max(most_pixels, simt::kLanes);
  const index_t image = index_t(blocks.out_height) * blocks.out_width;
  blocks.columns = blocks.out_width <= most_pixels
                       ? blocks.out_width
                       : simt::whole_lanes(ceil_div(blocks.out_width, ceil_div(blocks.out_width, most_pixels)));
  if (image * 2 <= most_pixels) {  // several small images to a block, as even as can be
    blocks.rows = blocks.out_height;
    blocks.images = int(ceil_div(all.batch, ceil_div(all.batch, most_pixels / image)));
    return blocks;
  }
  const int most_rows = std::max(1, std::min(blocks.out_height, most_pixels / blocks.columns));
  const int most_units = most_rows == blocks.out_height ? ceil_div(most_rows, row_unit) : most_rows / row_unit;
  index_t fewest_lanes = INT64_MAX;
  for (int units = std::max(1, most_units), least = units / 2; units > least; --units) {
    const int rows = std::min(units * row_unit, blocks.out_height), rest = blocks.out_height % rows;
    const index_t lanes = index_t(blocks.out_height / rows) * simt::whole_lanes(rows * blocks.columns) +
                          simt::whole_lanes(rest * blocks.columns);
    if (lanes < fewest_lanes) {
      fewest_lanes = lanes;
      blocks.rows = rows;
    }
  }
  return blocks;
}

// To be cut.
inline PixelBlocks all_pixels(const Conv2dShape& shape) {
  return {.batch = shape.batch, .out_height = int(shape.out_height()), .out_width = int(shape.out_width())};
}

namespace detail {

// Where a tap of the kernel meets the image: rows [row, row_end) and columns [column, column_end) of the block, and the
// offset in the image of the first of them.
struct TapWindow {
  int row, row_end, column, column_end;
  index_t offset;

  TapWindow(const PatchGeometry& g, const PixelBlock& block, int kernel_row, int kernel_column) {
    const int down = kernel_row * g.dilation - g.padding, right = kernel_column * g.dilation - g.padding;
    row = first_inside(down, g.stride, block.row, block.rows);
    row_end = end_inside(down, g.stride, g.height, block.row, block.rows);
    column = first_inside(right, g.stride, block.column, block.columns);
    column_end = end_inside(right, g.stride, g.width, block.column, block.columns);
    offset = (index_t(block.row + row) * g.stride + down) * g.width + index_t(block.column + column) * g.stride + right;
  }
  bool empty() const { return row >= row_end || column >= column_end; }
  bool whole(const PixelBlock& block) const {
    return row == 0 && column == 0 && row_end == block.rows && column_end == block.columns;
  }

 private:
  // The pixels i of [first, first + count) with 0 <= i * stride + shift (< size), counted from `first`.
  static int first_inside(int shift, int stride, int first, int count) {
    const int lowest = shift >= 0 ? 0 : stride == 1 ? -shift : (-shift + stride - 1) / stride;
    return std::clamp(lowest - first, 0, count);
  }
  static int end_inside(int shift, int stride, int size, int first, int count) {
    const int end = size <= shift ? 0 : stride == 1 ? size - shift : (size - 1 - shift) / stride + 1;
    return std::clamp(end - first, 0, count);
  }
};

// Which of the weights [first, first + count) of a filter belong to one tap of the kernel: one for each of `count`
// channels from `channel` on, the first in row `row` of the panel.
struct TapChannels {
  int channel, count, row;
};

// visit(channels, window) for every tap that has some; the windows are computed per tap, not per channel.
template <class Visit>
void for_each_tap(const PatchGeometry& g, const PixelBlock& block, int first, int count, const Visit& visit) {
  const int taps = g.kernel_height * g.kernel_width, end = first + count;
  const int first_channel = first / taps, first_tap = first % taps, end_channel = end / taps, end_tap = end % taps;
  for (int row = 0, tap = 0; row < g.kernel_height; ++row) {
    for (int column = 0; column < g.kernel_width; ++column, ++tap) {
      const int channel = first_channel + (tap < first_tap ? 1 : 0), channels = end_channel + (tap < end_tap) - channel;
      if (channels <= 0) continue;
      visit(TapChannels{channel, channels, channel * taps + tap - first}, TapWindow(g, block, row, column));
    }
  }
}

inline void gather_runs(const simt::Runs& runs, int stride, const float* from, float* to) {
  if (stride == 1) return simt::copy_runs(runs, from, to);
  for (int plane = 0; plane < runs.planes; ++plane, from += runs.from_plane, to += runs.to_plane) {
    for (int row = 0; row < runs.rows; ++row) {
      for (int i = 0; i < runs.width; ++i) to[row * runs.to_pitch + i] = from[row * runs.from_pitch + i * stride];
    }
  }
}

inline void scatter_runs(const simt::Runs& runs, int stride, const float* from, float* to) {
  if (stride == 1) return simt::add_runs(runs, from, to);
  for (int plane = 0; plane < runs.planes; ++plane, from += runs.from_plane, to += runs.to_plane) {
    for (int row = 0; row < runs.rows; ++row) {
      for (int i = 0; i < runs.width; ++i) to[row * runs.to_pitch + i * stride] += from[row * runs.from_pitch + i];
    }
  }
}

}  // namespace detail

// panel [count, pitch] = the patch entries [first, first + count) at the block's pixels, and zeros from there to `end`.
// `x` is the first channel (of the group) of the block's first image.
inline void gather_patches(const PatchGeometry& g, const PixelBlock& block, int first, int count, const float* x,
                           float* panel, index_t pitch, int end) {
  const int pixels = block.pixels(), plane = block.rows * block.columns;
  const index_t next_channel = index_t(g.kernel_height) * g.kernel_width * pitch;
  detail::for_each_tap(g, block, first, count, [&](const detail::TapChannels& tap, const detail::TapWindow& window) {
    float* to = panel + tap.row * pitch;
    const int kept = window.whole(block) ? pixels : 0;  // of a row of the panel: the rest is cleared first
    for (int c = 0; c < tap.count && kept < end; ++c)
      std::fill(to + c * next_channel + kept, to + c * next_channel + end, 0.0f);
    if (window.empty()) return;
    const simt::Runs runs{.planes = tap.count,
                          .rows = window.row_end - window.row,
                          .width = window.column_end - window.column,
                          .from_pitch = index_t(g.stride) * g.width,
                          .to_pitch = block.columns,
                          .from_plane = g.x_plane(),
                          .to_plane = next_channel};
    const float* from = x + tap.channel * g.x_plane() + window.offset;
    to += window.row * block.columns + window.column;
    for (int image = 0; image < block.images; ++image) {
      detail::gather_runs(runs, g.stride, from + image * g.x_image, to + image * plane);
    }
  });
}

// dx += panel, the adjoint of gather_patches().
inline void scatter_patches(const PatchGeometry& g, const PixelBlock& block, int first, int count, const float* panel,
                            index_t pitch, float* dx) {
  const index_t next_channel = index_t(g.kernel_height) * g.kernel_width * pitch;
  detail::for_each_tap(g, block, first, count, [&](const detail::TapChannels& tap, const detail::TapWindow& window) {
    if (window.empty()) return;
    const simt::Runs runs{.planes = tap.count,
                          .rows = window.row_end - window.row,
                          .width = window.column_end - window.column,
                          .from_pitch = block.columns,
                          .to_pitch = index_t(g.stride) * g.width,
                          .from_plane = next_channel,
                          .to_plane = g.x_plane()};
    const float* from = panel + tap.row * pitch + window.row * block.columns + window.column;
    float* to = dx + tap.channel * g.x_plane() + window.offset;
    for (int image = 0; image < block.images; ++image) {
      detail::scatter_runs(runs, g.stride, from + image * block.rows * block.columns, to + image * g.x_image);
    }
  });
}

// panel [filters, pitch] = y at the block's pixels, zero up to a whole vector after the last. `y` is the first filter
// of the block's first image.
inline void load_pixels(const PatchGeometry& g, const PixelBlock& block, int filters, const float* y, float* panel,
                        int pitch) {
  const int pixels = block.pixels(), plane = block.rows * block.columns, lanes = simt::whole_lanes(pixels);
  for (int f = 0; f < filters && pixels < lanes; ++f)
    std::fill(panel + index_t(f) * pitch + pixels, panel + index_t(f) * pitch + lanes, 0.0f);
  const bool rows_join = block.columns == g.out_width;
  const simt::Runs runs{.planes = filters,
                        .rows = rows_join ? 1 : block.rows,
                        .width = rows_join ? plane : block.columns,
                        .from_pitch = g.out_width,
                        .to_pitch = block.columns,
                        .from_plane = g.y_plane(),
                        .to_plane = pitch};
  y += index_t(block.row) * g.out_width + block.column;
  for (int image = 0; image < block.images; ++image)
    simt::copy_runs(runs, y + image * g.y_image, panel + image * plane);
}

// panel [pixels, pitch] = the same transposed; the lanes after the last filter keep what they had.
inline void load_pixels_transposed(const PatchGeometry& g, const PixelBlock& block, int filters, const float* y,
                                   float* panel, int pitch) {
  const bool rows_join = block.columns == g.out_width;
  const int runs = rows_join ? 1 : block.rows, width = rows_join ? block.rows * block.columns : block.columns;
  y += index_t(block.row) * g.out_width + block.column;
  for (int image = 0; image < block.images; ++image, y += g.y_image) {
    for (int run = 0; run < runs; ++run, panel += index_t(width) * pitch) {
      simt::transpose(y + index_t(run) * g.out_width, g.y_plane(), filters, width, panel, pitch);
    }
  }
}

// y = panel at the block's pixels, the inverse of load_pixels().
inline void store_pixels(const PatchGeometry& g, const PixelBlock& block, int filters, const float* panel, int pitch,
                         float* y) {
  const int plane = block.rows * block.columns;
  const bool rows_join = block.columns == g.out_width;
  const simt::Runs runs{.planes = filters,
                        .rows = rows_join ? 1 : block.rows,
                        .width = rows_join ? plane : block.columns,
                        .from_pitch = block.columns,
                        .to_pitch = g.out_width,
                        .from_plane = pitch,
                        .to_plane = g.y_plane()};
  y += index_t(block.row) * g.out_width + block.column;
  for (int image = 0; image < block.images; ++image)
    simt::copy_runs(runs, panel + image * plane, y + image * g.y_image);
}

}  // namespace espalier::kernels
