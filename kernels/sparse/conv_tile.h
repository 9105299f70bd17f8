// The two ends of a direct sparse convolution: an image part on its way into shared memory, and strips of outputs on
// their way out.
#pragma once
#include <algorithm>

#include "kernels/grid.h"
#include "kernels/pool_math.h"
#include "kernels/require.h"
#include "kernels/simt/lanes.h"
#include "kernels/simt/strip.h"
#include "kernels/sparse/csr_conv2d.h"

namespace espalier::kernels {

template <class Team, int kRegisters>
using StripOf = std::conditional_t<Team::kLanes == 1, simt::Strip<kRegisters * simt::kLanes>,
                                   simt::Strip<kRegisters, Team::kLanes>>;

struct ConvGrid {
  Conv2dShape shape;
  CsrConv2dLayout layout;
  index_t tiles_y = 1, tiles_x = 1, filters_per_block = 1, filter_blocks = 1;
  index_t blocks() const { return shape.batch * tiles_y * tiles_x * shape.groups * filter_blocks; }
};

// Filters are split among blocks, `filters_at_once` or a multiple to each, only as far as the device would be idle.
inline ConvGrid conv_grid(const Conv2dShape& shape, const CsrConv2dLayout& layout, index_t filters_at_once) {
  constexpr index_t kWantedBlocks = simt::kEmulated ? 4 : 512;  // fills the device at batch 1
  ConvGrid grid{shape, layout};
  grid.tiles_y = ceil_div(layout.out_rows, layout.tile_rows);
  grid.tiles_x = ceil_div(layout.out_columns, layout.tile_columns);
  const index_t blocks = shape.batch * grid.tiles_y * grid.tiles_x * shape.groups;
  const index_t most = ceil_div(shape.filters_per_group(), filters_at_once);
  const index_t wanted = std::min(ceil_div(kWantedBlocks, blocks), most);
  grid.filters_per_block = ceil_div(most, wanted) * filters_at_once;
  grid.filter_blocks = ceil_div(shape.filters_per_group(), grid.filters_per_block);
  return grid;
}

// Blocks, threads and shared memory of a kernel over the grid.
template <class Team>
simt::Launch conv_launch(const ConvGrid& grid, cudaStream_t stream,
                         std::source_location where = std::source_location::current()) {
  const index_t floats = grid.layout.slab_floats + Team::kPerBlock * grid.layout.staging_floats;
  return {dim3(unsigned(grid.blocks())), dim3(Team::kLanes, Team::kPerBlock), sizeof(float) * std::size_t(floats),
          stream, where};
}

// One block's share: an image, a tile of its outputs, and filters of one group.
struct ConvTile {
  index_t image, group, row, column;  // first output
  int rows, columns;                  // outputs that exist
  int first_filter, last_filter;

  __device__ explicit ConvTile(const ConvGrid& grid) : ConvTile(grid, blockIdx.x) {}
  // 32-bit division: the 64-bit one is a call, around which registers spill.
  __device__ ConvTile(const ConvGrid& grid, unsigned block) {
    const auto take = [&](index_t count) {
      const unsigned digit = block % unsigned(count);
      block /= unsigned(count);
      return index_t(digit);
    };
    const index_t filter = take(grid.filter_blocks) * grid.filters_per_block;
    column = take(grid.tiles_x) * grid.layout.tile_columns;
    row = take(grid.tiles_y) * grid.layout.tile_rows;
    group = take(grid.shape.groups);
    image = block;
    const index_t last = filter + grid.filters_per_block, filters = grid.shape.filters_per_group();
    first_filter = int(group * filters + filter);
    last_filter = int(group * filters + (last < filters ? last : filters));
    const index_t rows_left = grid.layout.out_rows - row, columns_left = grid.layout.out_columns - column;
    rows = int(rows_left < grid.layout.tile_rows ? rows_left : grid.layout.tile_rows);
    columns = int(columns_left < grid.layout.tile_columns ? columns_left : grid.layout.tile_columns);
  }
};

inline void require_offsets_fit(const Conv2dShape& shape, const CsrConv2dLayout& layout) {
  require(shape.channels_per_group() * layout.channel() <= INT32_MAX, "csr_conv2d: ", shape.channels_per_group(),
          " channels of ", layout.channel(), " floats overflow 32-bit offsets");
}

// Where in the slab what multiplies a column of the weight [filters, patch] finds its run.
__device__ inline std::int32_t slab_offset(const Conv2dShape& shape, const CsrConv2dLayout& layout,
                                           std::int32_t column) {
  const index_t kx = column % shape.kernel_width * shape.dilation;
  const index_t ky = column / shape.kernel_width % shape.kernel_height * shape.dilation;
  const index_t channel = column / shape.kernel_width / shape.kernel_height;
  const index_t phase = ky % shape.stride * layout.phases_x + kx % shape.stride;
  return std::int32_t(channel * layout.channel() + phase * layout.plane + ky / shape.stride * layout.pitch +
                      kx / shape.stride);
}

// Planes of the slab, [phases_y, phases_x] of each channel, and the rows of the image that they hold.
struct SlabPlanes {
  __device__ SlabPlanes(const ConvGrid& grid, const ConvTile& tile, int channel, const float* x)
      : pitch(int(grid.layout.pitch)),
        rows(int(grid.layout.plane) / pitch),
        first_row(tile.row * grid.shape.stride - grid.shape.padding),
        first_column(tile.column * grid.shape.stride - grid.shape.padding),
        image_plane(grid.shape.height * grid.shape.width),
        image(x + (tile.image * grid.shape.channels + tile.group * grid.shape.channels_per_group() + channel) *
                      image_plane) {}
  // A plane is a contiguous piece of its channel.
  __device__ bool contiguous(const Conv2dShape& shape) const {
    return shape.stride == 1 && shape.padding == 0 && pitch == shape.width;
  }

  int pitch, rows;
  index_t first_row, first_column;  // of the image at the planes' first element, phase 0; negative in the padding
  index_t image_plane;
  const float* image;  // the first channel
};

// By warps: each takes a row at a time, its lanes side by side.
__device__ inline void load_planes(WarpTeam, const Conv2dShape& shape, const CsrConv2dLayout& layout,
                                   const SlabPlanes& planes, int count, const float*, float* slab) {
  const int stride = int(shape.stride), phases_y = int(layout.phases_y), phases_x = int(layout.phases_x);
  const float* image = planes.image;
  int row = int(threadIdx.y), phase_x = 0, phase_y = 0;
  for (int r = row; r < count * phases_y * phases_x * planes.rows;
       r += WarpTeam::kPerBlock, row += WarpTeam::kPerBlock) {
    for (; row >= planes.rows; row -= planes.rows) {
      if (++phase_x == phases_x) phase_x = 0, ++phase_y;
      if (phase_y == phases_y) phase_y = 0, image += planes.image_plane;
    }
    const index_t y = planes.first_row + row * stride + phase_y;
    const bool inside = y >= 0 && y < shape.height;
    for (int q = int(threadIdx.x); q < planes.pitch; q += WarpTeam::kLanes) {
      const index_t column = planes.first_column + q * stride + phase_x;
      const bool exists = inside && column >= 0 && column < shape.width;
      slab[r * planes.pitch + q] = exists ? image[y * shape.width + column] : 0.0f;
    }
  }
}

// One plane by one thread: zeros, columns [begin, end) of the image, zeros. Whole vectors may spoil what follows a row:
// the next row is written after it.
struct PlaneColumns {
  PlaneColumns(const Conv2dShape& shape, index_t first_column, int pitch) : first(first_column) {
    const index_t before = first < 0 ? -first : 0, until = first < shape.width ? shape.width - first : 0;
    begin = int(std::min<index_t>((before + shape.stride - 1) / shape.stride, pitch));
    end = std::max(begin, int(std::min<index_t>((until + shape.stride - 1) / shape.stride, pitch)));
  }
  void copy(const float* image_row, index_t stride, const float* end_of_input, int pitch, float* to) const {
    for (int q = 0; q < begin; ++q) to[q] = 0.0f;
    const float* from = image_row + first;
    if (stride == 1) {
      simt::copy_row(from + begin, end_of_input - from - begin, to + begin, pitch - begin + simt::kLanes, end - begin);
    } else {
      for (int q = begin; q < end; ++q) to[q] = from[q * stride];
    }
    for (int q = end; q < pitch; ++q) to[q] = 0.0f;
  }
  index_t first;
  int begin, end;
};

template <class Team>
__device__ inline void load_planes(Team, const Conv2dShape& shape, const CsrConv2dLayout& layout,
                                   const SlabPlanes& planes, int count, const float* end_of_input, float* slab) {
  const float* image = planes.image;
  for (int channel = 0; channel < count; ++channel, image += planes.image_plane) {
    for (int phase = 0; phase < int(layout.phases_y * layout.phases_x); ++phase) {
      const PlaneColumns columns(shape, planes.first_column + phase % layout.phases_x, planes.pitch);
      index_t y = planes.first_row + phase / layout.phases_x;
      for (int row = 0; row < planes.rows; ++row, y += shape.stride, slab += planes.pitch) {
        if (y >= 0 && y < shape.height) {
          columns.copy(image + y * shape.width, shape.stride, end_of_input, planes.pitch, slab);
        } else {
          for (int q = 0; q < planes.pitch; ++q) slab[q] = 0.0f;
        }
      }
    }
  }
}

// slab [count, phases, rows, pitch] = the padded image part of `count` channels from `channel` on; what lies beyond the
// planes, which dropped outputs read, is cleared.
template <class Team>
__device__ inline void load_slab(const ConvGrid& grid, const ConvTile& tile, int channel, int count,
                                 const float* __restrict__ x, float* slab) {
  const SlabPlanes planes(grid, tile, channel, x);
  const float* end_of_input = x + grid.shape.input_size();
  const int plane = int(grid.layout.plane), used = count * int(grid.layout.channel());
  const int thread = int(threadIdx.y) * Team::kLanes + int(threadIdx.x), threads = Team::kLanes * Team::kPerBlock;
  if (planes.contiguous(grid.shape)) {
    const index_t rows_left = grid.shape.height - planes.first_row;
    const int existing = int(rows_left < planes.rows ? rows_left : planes.rows) * planes.pitch;
    for (int c = 0; c < count; ++c) {
      const float* from = planes.image + c * planes.image_plane + planes.first_row * grid.shape.width;
      if constexpr (Team::kLanes == 1) {
        simt::copy_row(from, end_of_input - from, slab + c * plane, plane + simt::kLanes, existing);
      } else {
        for (int i = thread; i < existing; i += threads) slab[c * plane + i] = from[i];
      }
      for (int i = existing + thread; i < plane; i += threads) slab[c * plane + i] = 0.0f;
    }
  } else {
    load_planes(Team(), grid.shape, grid.layout, planes, count, end_of_input, slab);
  }
  for (int i = used + thread; i < int(grid.layout.slab_floats); i += threads) slab[i] = 0.0f;
}

// Strips on their way to y [batch, filters, out_height, out_width]. A warp writes each strip at once, its lanes side by
// side; a CPU thread, and a warp that pools, first collects the tile of a filter.
template <class Team>
class OutputTile {
 public:
  __device__ OutputTile(const ConvGrid& grid, const ConvTile& tile, float* slab, float* y)
      : staging_(slab + grid.layout.slab_floats + threadIdx.y * grid.layout.staging_floats),
        pitch_(unsigned(grid.layout.pitch)),
        reciprocal_(unsigned((0xFFFFFFFFull + pitch_) / pitch_)),
        rows_(tile.rows),
        columns_(tile.columns),
        pooled_(grid.layout.pool == ConvPool::halves) {
    const int step = pooled_ ? 2 : 1;
    width_ = grid.shape.out_width() / step;
    plane_ = grid.shape.out_height() / step * width_;
    y_ = y + tile.image * grid.shape.filters * plane_ + tile.row / step * width_ + tile.column / step;
  }

  template <int kWidth>
  __device__ void put(int filter, int position, const simt::Strip<kWidth, 32>& sums) const {
    if (pooled_) return sums.store(staging_ + position + threadIdx.x);
    float* to = y_ + filter * plane_;
#pragma unroll
    for (int j = 0; j < kWidth; ++j) {
      const unsigned p = unsigned(position) + threadIdx.x + 32u * j;
      const unsigned row = pitch_ == 1 ? p : __umulhi(p, reciprocal_), column = p - row * pitch_;
      if (int(row) < rows_ && int(column) < columns_) to[row * width_ + column] = sums.lane[j];
    }
  }
  template <int kWidth>
  __device__ void put(int, int position, const simt::Strip<kWidth>& sums) const {
    sums.store(staging_ + position);
  }

  __device__ void complete(int filter) const {
    float* to = y_ + filter * plane_;
    if (pooled_) {
      if constexpr (Team::kLanes > 1) __syncwarp();
      pool(to);
      if constexpr (Team::kLanes > 1) __syncwarp();  // before the next filter is put there
    } else if constexpr (Team::kLanes == 1) {
      const float* from = staging_;
      // Rows that lie side by side in y may spoil the start of the next one.
      const index_t own = columns_ == width_ ? index_t(rows_) * width_ : 0;
      for (int row = 0; row < rows_; ++row, from += pitch_, to += width_) {
        const index_t room = own - row * width_;
        simt::copy_row(from, simt::kLanes + columns_, to, room > columns_ ? room : columns_, columns_);
      }
    }
  }

 private:
  // The largest of kLanes neighbouring windows; all that a CPU's vector reads beyond a row lies in the staging.
  template <int kLanes>
  __device__ auto largest(const float* from) const {
    const auto above = simt::load_phases<kLanes, 2>(from), below = simt::load_phases<kLanes, 2>(from + pitch_);
    auto best = above.phase[0];
    best = wins(above.phase[1], best) ? above.phase[1] : best;
    best = wins(below.phase[0], best) ? below.phase[0] : best;
    best = wins(below.phase[1], best) ? below.phase[1] : best;
    return best;
  }
  __device__ void pool(float* to) const {
    const int rows = rows_ / 2, columns = columns_ / 2;
    if constexpr (Team::kLanes == 1) {
      for (int row = 0; row < rows; ++row, to += width_) {
        for (int column = 0; column < columns; column += simt::kLanes) {
          float values[simt::kLanes];
          simt::store_lanes<simt::kLanes>(values,
                                          largest<simt::kLanes>(staging_ + 2 * (row * std::int64_t(pitch_) + column)));
          const int count = columns - column < simt::kLanes ? columns - column : simt::kLanes;
          for (int i = 0; i < count; ++i) to[column + i] = values[i];
        }
      }
    } else {
      for (int window = int(threadIdx.x); window < rows * columns; window += Team::kLanes) {
        const int row = window / columns, column = window - row * columns;
        to[row * width_ + column] = largest<1>(staging_ + 2 * (row * std::int64_t(pitch_) + column));
      }
    }
  }

  float* staging_;
  unsigned pitch_, reciprocal_;  // p / pitch == high word of p * reciprocal while p * pitch < 2^32
  int rows_, columns_;
  bool pooled_;
  index_t width_, plane_;
  float* y_;
};

}  // namespace espalier::kernels
