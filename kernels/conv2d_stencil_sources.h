// What a block of conv2d_stencil_kernel.h copies into shared memory: planes, or the gradient of a fused block, and the
// weights. A list names the copies of one channel, made once a block: the same for all channels and images, so that a
// copy costs no division, and what lies outside of the image is never written and stays zero.
#pragma once
#include "kernels/conv2d_stencil.h"
#include "kernels/simt/async_copy.h"

namespace espalier::kernels {

// Where a block and its thread are.
struct StencilPlace {
  int row, column;           // first output of the tile
  int image, down, across;   // the thread's strip in the tile
  int team;                  // of the threads that share the channels; the first stores
  int group;                 // of the convolution
  int block_filter, filter;  // first filter of the block and of the thread, in the group
  bool active;               // has results to store

  __device__ StencilPlace(const StencilPlan& plan) {
    const StencilTile& tile = plan.tile;
    const unsigned tiles = unsigned(tile.tiles_down * tile.tiles_across), part = blockIdx.x % tiles;
    row = int(part / unsigned(tile.tiles_across)) * tile.down * kStripRows;
    column = int(part % unsigned(tile.tiles_across)) * tile.across * kStripColumns;
    const unsigned position = threadIdx.x % unsigned(tile.positions()),
                   strip = position % unsigned(tile.down * tile.across);
    image = int(position / unsigned(tile.down * tile.across));
    down = int(strip / unsigned(tile.across)), across = int(strip % unsigned(tile.across));
    team = int(threadIdx.x) / tile.team_threads();
    const int filters = int(threadIdx.x) / tile.positions() % tile.filter_groups;
    active = team == 0;
    group = int(blockIdx.z);
    block_filter = int(blockIdx.y) * tile.filter_groups * plan.filters_per_thread;
    filter = block_filter + filters * plan.filters_per_thread;
  }
  __device__ int first_row() const { return row + down * kStripRows; }
  __device__ int first_column() const { return column + across * kStripColumns; }
};

__device__ inline int row_offset(const StencilTile& tile, int row) {
  return (row >> 1) * tile.pair_pitch + (row & 1) * tile.row_pitch;
}

// A copy that each channel gets: from where in an image's channel, to where in the tile's.
struct StencilItem {
  int from, to;
};

// [begin, end) of the elements of an axis from `first` on that exist.
struct StencilRange {
  int begin, end;
  __device__ StencilRange(int first, int count, int size)
      : begin(first < 0 ? 0 : first), end(first + count < size ? first + count : size) {}
  __device__ int count() const { return end > begin ? end - begin : 0; }
};

// visit(item, image, row, column) for a block's rows x columns of each image, some lanes to a row: one division a row.
template <class Visit>
__device__ inline void for_each_item(const StencilPlan& plan, int rows, int columns, const Visit& visit) {
  const int lanes = columns <= 4 ? 4 : columns <= 8 ? 8 : columns <= 16 ? 16 : 32;
  const int first = int(threadIdx.x) / lanes, step = plan.block_threads / lanes, lane = int(threadIdx.x) % lanes;
  for (int line = first; line < plan.tile.images * rows; line += step) {
    const int image = line / rows, row = line - image * rows;
    for (int column = lane; column < columns; column += lanes) visit(line * columns + column, image, row, column);
  }
}

// Whose copies a thread makes: of every `threads`-th item from `thread` on, of every `step`-th channel from `first` on.
struct StencilTeam {
  int thread, threads, first, step;
};

// ---- sources: list() names the copies, load() starts those of channels [channel, channel + count) of a block's images

// Planes in memory. Items are an image's elements in the order of memory: neighbouring lanes read neighbouring floats.
struct PlaneSource {
  const float* data;

  __device__ int list(const StencilPlan& plan, int first_row, int first_column, StencilItem* items) const {
    const StencilProblem& p = plan.problem;
    const int top = first_row - p.padding, left = first_column - p.padding;
    const StencilRange rows(top, p.source_rows(plan.tile.down), p.height);
    const StencilRange columns(left, p.source_columns(plan.tile.across), p.width);
    const int image = p.channels * p.groups * p.height * p.width;
    for_each_item(plan, rows.count(), columns.count(), [&](int i, int n, int down, int right) {
      const int row = rows.begin + down, column = columns.begin + right;
      items[i] = {n * image + row * p.width + column,
                  n * plan.tile.image_pitch + row_offset(plan.tile, row - top) + column - left};
    });
    return rows.count() * columns.count();
  }

  __device__ void load(const StencilPlan& plan, index_t image, int channel, int count, const StencilTeam& team,
                       const StencilItem* items, int item_count, float* tile) const {
    const StencilProblem& p = plan.problem;
    const int plane = p.height * p.width, pitch = plan.tile.channel_pitch;
    const float* from = data + (image * p.groups + int(blockIdx.z)) * p.channels * plane + channel * plane;
    for (int i = team.thread; i < item_count; i += team.threads) {
      const StencilItem item = items[i];
      for (int c = team.first; c < count; c += team.step) {
        simt::async_copy<4>(tile + c * pitch + item.to, from + c * plane + item.from);
      }
    }
  }
};

// The expanded gradient of a fused block. Items are windows; `to` holds four bits, which of its pixels are in the tile.
struct WindowSource {
  PooledGradient gradient;

  __device__ int list(const StencilPlan& plan, int first_row, int first_column, StencilItem* items) const {
    const StencilProblem& p = plan.problem;
    const int top = first_row - p.padding, left = first_column - p.padding;
    const int row_count = p.source_rows(plan.tile.down), column_count = p.source_columns(plan.tile.across);
    const StencilRange rows(top >> 1, ((top + row_count + 1) >> 1) - (top >> 1), gradient.height);
    const StencilRange columns(left >> 1, ((left + column_count + 1) >> 1) - (left >> 1), gradient.width);
    for_each_item(plan, rows.count(), columns.count(), [&](int i, int n, int row, int column) {
      const int down = 2 * (rows.begin + row) - top, right = 2 * (columns.begin + column) - left;
      int inside = 0;
      for (int place = 0; place < 4; ++place) {
        const bool in_tile =
            unsigned(down + place / 2) < unsigned(row_count) && unsigned(right + place % 2) < unsigned(column_count);
        inside |= in_tile ? 1 << place : 0;
      }
      items[i] = {n << kWindowBits | ((rows.begin + row) * gradient.width + columns.begin + column),
                  (n * plan.tile.image_pitch + row_offset(plan.tile, down) + right) * 16 + inside};
    });
    return rows.count() * columns.count();
  }

  __device__ void load(const StencilPlan& plan, index_t image, int channel, int count, const StencilTeam& team,
                       const StencilItem* items, int item_count, float* tile) const {
    const StencilProblem& p = plan.problem;
    const int windows = gradient.windows(), bytes = int(gradient.plane_bytes());
    const index_t plane = (image * p.groups + int(blockIdx.z)) * p.channels + channel;
    const bool odd = (p.padding & 1) != 0;
    for (int i = team.thread; i < item_count; i += team.threads) {
      const StencilItem item = items[i];
      const int n = item.from >> kWindowBits, window = item.from & ((1 << kWindowBits) - 1);
      const index_t first = plane + index_t(n) * p.channels * p.groups;
      const int below = odd ? plan.tile.pair_pitch - plan.tile.row_pitch : plan.tile.row_pitch;
      for (int c = team.first; c < count; c += team.step) {
        const index_t element = (first + c) * windows + window;
        const int place = gradient.route[(first + c) * bytes + (window >> 2)] >> (window % 4 * 2) & 3;
        const float value = bend(gradient.dy[element], gradient.y[element], gradient.slope);
        expand_window(item.to, odd, value, place, tile + c * plan.tile.channel_pitch + (item.to >> 4), below);
      }
    }
  }

 private:
  // Where windows begin at even columns both pixels of a row are in the tile: one store without bank conflicts.
  __device__ static void expand_window(int inside, bool odd, float value, int place, float* to, int below) {
    if (!odd) {
      if (inside & 1)
        *reinterpret_cast<float2*>(to) = make_float2(place == 0 ? value : 0.0f, place == 1 ? value : 0.0f);
      if (inside & 4) {
        *reinterpret_cast<float2*>(to + below) = make_float2(place == 2 ? value : 0.0f, place == 3 ? value : 0.0f);
      }
      return;
    }
    if (inside & 1) to[0] = place == 0 ? value : 0.0f;
    if (inside & 2) to[1] = place == 1 ? value : 0.0f;
    if (inside & 4) to[below] = place == 2 ? value : 0.0f;
    if (inside & 8) to[below + 1] = place == 3 ? value : 0.0f;
  }
};

// ---- weights [block's filters, step's channels, taps rounded up to 4]

template <int kKernel>
struct StencilWeights {
  static constexpr int kTaps = kKernel * kKernel, kPaddedTaps = (kTaps + 3) / 4 * 4;
  static constexpr int kChannels = kStencilChannels<kKernel>, kPitch = kChannels * kPaddedTaps;

  static constexpr int kPassChannels =
      kTaps < 16 ? 2 : 1;  // of a warp at a time: then its words lie in different banks

  // w [groups * filters, channels, taps]: a warp copies a filter's run, contiguous over the channels of a step.
  __device__ static void load(const StencilPlan& plan, const StencilPlace& at, const float* w, int channel, int count,
                              float* to) {
    const StencilProblem& p = plan.problem;
    const int filters = plan.tile.filter_groups * plan.filters_per_thread, lane = int(threadIdx.x) % 32;
    w += (index_t(at.group) * p.filters * p.channels + channel) * kTaps;
    for (int f = int(threadIdx.x) / 32; f < filters; f += plan.block_threads / 32) {
      if (at.block_filter + f >= p.filters) return;
      const float* from = w + index_t(at.block_filter + f) * p.channels * kTaps;
#pragma unroll
      for (int pass = 0; pass < kChannels / kPassChannels; ++pass) {
        const int c = pass * kPassChannels + lane / kTaps, tap = lane % kTaps;
        if (lane >= kPassChannels * kTaps || c >= count) continue;
        simt::async_copy<4>(to + f * kPitch + c * kPaddedTaps + tap, from + c * kTaps + tap);
      }
    }
  }

  // The weights of the adjoint, w [groups * channels, filters, taps], turned: for each channel a run over all filters.
  __device__ static void load_turned(const StencilPlan& plan, const StencilPlace& at, const float* w, int channel,
                                     int count, float* to) {
    const StencilProblem& p = plan.problem;
    const int filters = plan.tile.filter_groups * plan.filters_per_thread, left = p.filters - at.block_filter;
    const int run = (filters < left ? filters : left) * kTaps;
    for (int c = 0; c < count; ++c) {
      const float* from = w + ((index_t(at.group) * p.channels + channel + c) * p.filters + at.block_filter) * kTaps;
      for (int i = int(threadIdx.x); i < run; i += plan.block_threads) {
        simt::async_copy<4>(to + i / kTaps * kPitch + c * kPaddedTaps + kTaps - 1 - i % kTaps, from + i);
      }
    }
  }
};

}  // namespace espalier::kernels
