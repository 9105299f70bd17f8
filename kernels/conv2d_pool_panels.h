// The pool of a fused block on panels in the cache (conv2d_panels.h): forward shrinks a panel of sums on its way out,
// backward expands the pooled gradient into a panel on its way in. A vector of windows at a time. Templates of the
// lanes of a vector, so that nvcc, whose kernels cannot call the functions of panels, does not look into them.
#pragma once
#include <cstring>

#include "kernels/conv2d_gradient.h"
#include "kernels/conv2d_panels.h"
#include "kernels/pool_math.h"
#include "kernels/rows.h"
#include "kernels/simt/lanes.h"

namespace espalier::kernels {

// The pixels that a pool reads: a last odd row or column is dropped.
inline PixelBlocks pooled_pixels(const Conv2dShape& shape) {
  return {
      .batch = shape.batch, .out_height = int(shape.out_height() / 2 * 2), .out_width = int(shape.out_width() / 2 * 2)};
}

// Where the results of a fused block go.
struct PooledOutput {
  float* y;
  std::uint8_t* route;  // or null
  int height, width;    // of a plane of y
  float slope;

  index_t windows() const { return index_t(height) * width; }
};

namespace detail {

// route = places [count], of which the last seven of a whole eight may be read.
inline void pack_places(const std::uint8_t* places, int count, std::uint8_t* route) {
  for (int i = 0; i < count; i += 8) {
    std::uint64_t eight = 0;
    std::memcpy(&eight, places + i, 8);
    if (count - i < 8) eight &= (std::uint64_t{1} << 8 * (count - i)) - 1;
    eight |= eight >> 6;   // two places to a byte, every other byte
    eight |= eight >> 12;  // four
    route[i / 4] = std::uint8_t(eight);
    if (count - i > 4) route[i / 4 + 1] = std::uint8_t(eight >> 32);
  }
}

// The places of windows [first, first + kLanes) of a plane of so many bytes.
template <int kLanes>
inline simt::Lanes<int, kLanes> load_places(const std::uint8_t* plane, index_t bytes, int first) {
  std::uint64_t bits = 0;
  const index_t at = first / 4, left = bytes - at;
  if (left >= 8) {
    std::memcpy(&bits, plane + at, 8);
  } else {
    for (index_t i = 0; i < left; ++i) bits |= std::uint64_t(plane[at + i]) << 8 * i;
  }
  bits >>= first % 4 * 2;
  if constexpr (kLanes == 1) {
    return int(bits & 3);
  } else {
    simt::Lanes<int, kLanes> shifts;
    for (int lane = 0; lane < kLanes; ++lane) shifts[lane] = 2 * lane;
    return ((simt::Lanes<int, kLanes>{} + int(std::uint32_t(bits))) >> shifts) & 3;
  }
}

}  // namespace detail

// y and route of whole rows of windows of one plane: `sums` [rows, columns], the first of them row `row` of the plane.
// `places` is scratch for all windows and seven more.
template <int kLanes>
__device__ inline void pool_rows(const PooledOutput& to, index_t plane, int row, int rows, const float* sums,
                                 float bias, std::uint8_t* places) {
  const int columns = 2 * to.width, first = row / 2 * to.width, windows = rows / 2 * to.width;
  for (int r = 0; r < rows / 2; ++r) {
    for_each_column_block(to.width, [&](auto count, index_t column) {
      constexpr int kCount = decltype(count)::value;
      const float* from = sums + 2 * r * columns + 2 * column;
      const auto upper = simt::load_phases<kCount, 2>(from), lower = simt::load_phases<kCount, 2>(from + columns);
      const simt::Lanes<int, kCount> zero{};
      auto best = upper.phase[0];
      auto place = zero;
      const auto challenge = [&](auto candidate, int at) {
        const auto better = wins(candidate, best);
        best = better ? candidate : best;
        place = better ? zero + at : place;
      };
      challenge(upper.phase[1], 1);
      challenge(lower.phase[0], 2);
      challenge(lower.phase[1], 3);
      best = best + bias;
      const index_t window = r * to.width + column;
      simt::store_lanes<kCount>(to.y + plane * to.windows() + first + window, bend(best, best, to.slope));
      simt::store_lanes<kCount>(places + window, simt::convert_lanes<std::uint8_t, kCount>(place));
    });
  }
  if (to.route != nullptr) {
    detail::pack_places(places, windows, to.route + plane * route_plane_bytes(to.windows()) + first / 4);
  }
}

// to [block.rows, block.columns] = the gradient of one plane at the pixels of a block.
template <int kLanes>
__device__ inline void expand_plane(const PooledGradient& from, index_t plane, const PixelBlock& block, float* to) {
  const std::uint8_t* route = from.route + plane * from.plane_bytes();
  const float *y = from.y + plane * from.windows(), *dy = from.dy + plane * from.windows();
  for (int r = 0; r < block.rows / 2; ++r) {
    const int first = (block.row / 2 + r) * from.width + block.column / 2;
    for_each_column_block(block.columns / 2, [&](auto count, index_t column) {
      constexpr int kCount = decltype(count)::value;
      const index_t window = first + column;
      const auto place = detail::load_places<kCount>(route, from.plane_bytes(), int(window));
      const auto kept = simt::load_lanes<kCount>(y + window);
      const auto gradient = bend(simt::load_lanes<kCount>(dy + window), kept, from.slope);
      const simt::Lanes<float, kCount> zero{};
      float* upper = to + 2 * r * block.columns + 2 * column;
      simt::store_phases<kCount, 2, float>(upper, {{place == 0 ? gradient : zero, place == 1 ? gradient : zero}});
      simt::store_phases<kCount, 2, float>(upper + block.columns,
                                           {{place == 2 ? gradient : zero, place == 3 ? gradient : zero}});
    });
  }
}

// Where panels get the output's gradient from: filters [filter, filter + count) of a group at the pixels of a block.
struct StoredPanels {
  static constexpr bool kPooled = false;
  const float* dy;

  static PixelBlocks cut(const Conv2dShape& shape, int most_pixels) {
    return pixel_blocks(all_pixels(shape), most_pixels);
  }

  const float* first(const PanelCut& cut, const PixelBlock& block, int group, int filter) const {
    return dy + cut.y_offset(block, group) + filter * cut.geometry.y_plane();
  }
  // panel [count, pitch]
  template <int kLanes>
  __device__ void load(const PanelCut& cut, const PixelBlock& block, int group, int filter, int count,
                       float* panel) const {
    load_pixels(cut.geometry, block, count, first(cut, block, group, filter), panel, cut.pitch);
  }
  // panel [pixels, pitch]
  template <int kLanes>
  __device__ void load_transposed(const PanelCut& cut, const PixelBlock& block, int group, int filter, int count,
                                  float*, float* panel, int pitch) const {
    load_pixels_transposed(cut.geometry, block, count, first(cut, block, group, filter), panel, pitch);
  }
};

struct PooledPanels {
  static constexpr bool kPooled = true;
  PooledGradient gradient;
  index_t all_filters;

  static PixelBlocks cut(const Conv2dShape& shape, int most_pixels) {
    return pixel_blocks(pooled_pixels(shape), most_pixels, 2);
  }
  template <int kLanes>
  __device__ void load(const PanelCut& cut, const PixelBlock& block, int group, int filter, int count,
                       float* panel) const {
    const int pixels = block.pixels(), plane = block.rows * block.columns, lanes = simt::whole_lanes(pixels);
    for (int f = 0; f < count; ++f, panel += cut.pitch) {
      for (int image = 0; image < block.images; ++image) {
        const index_t from = (block.image + image) * all_filters + index_t(group) * cut.filters + filter + f;
        expand_plane<kLanes>(gradient, from, block, panel + image * plane);
      }
      std::fill(panel + pixels, panel + lanes, 0.0f);
    }
  }
  // By way of scratch [count, cut.pitch].
  template <int kLanes>
  __device__ void load_transposed(const PanelCut& cut, const PixelBlock& block, int group, int filter, int count,
                                  float* scratch, float* panel, int pitch) const {
    load<kLanes>(cut, block, group, filter, count, scratch);
    simt::transpose(scratch, cut.pitch, count, block.pixels(), panel, pitch);
  }
};

}  // namespace espalier::kernels
