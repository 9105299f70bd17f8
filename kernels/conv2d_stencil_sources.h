// What a block of conv2d_stencil_kernel.h copies into shared memory: planes, or the gradient of a fused block, and the
// weights. A list names the copies of some channels of an image, made once a block: the same for all channels and
// images, so that a copy costs no division, and what lies outside of the image is never written and stays zero.
//
// Maps of odd sizes begin anywhere in a sector of 32 bytes. A warp therefore copies from a sector's beginning on, save
// its first lanes where a run begins within one, and a run is as long as it may be: where most rows of a plane are
// wanted, the planes of several channels, with holes in the list for the rows that are not.
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
    const unsigned slot = threadIdx.x % unsigned(tile.group_threads), last = unsigned(tile.positions()) - 1;
    const unsigned position = slot < last ? slot : last, strip = position % unsigned(tile.down * tile.across);
    image = int(position / unsigned(tile.down * tile.across));
    down = int(strip / unsigned(tile.across)), across = int(strip % unsigned(tile.across));
    team = int(threadIdx.x) / tile.team_threads();
    const int filters = int(threadIdx.x) / tile.group_threads % tile.filter_groups;
    active = team == 0 && slot <= last;
    group = int(blockIdx.z);
    block_filter = int(blockIdx.y) * tile.filter_groups * plan.filters_per_thread;
    filter = block_filter + filters * plan.filters_per_thread;
  }
  __device__ int first_row() const { return row + down * kStripRows; }
  __device__ int first_column() const { return column + across * kStripColumns; }
};

// A copy: from where in an image's first listed channel (-1: there is none), to where in the tile's.
struct alignas(8) StencilItem {
  int from, to;
};

// The list: so many entries a channel, in the order of memory, the first of which is `first` floats from the plane.
struct StencilList {
  const StencilItem* items;
  int channel_items, first;
};

// [begin, end) of the elements of an axis from `first` on that exist.
struct StencilRange {
  int begin, end;
  __device__ StencilRange(int first, int count, int size)
      : begin(first < 0 ? 0 : first), end(first + count < size ? first + count : size) {}
  __device__ int count() const { return end > begin ? end - begin : 0; }
  __device__ bool holds(int i) const { return i >= begin && i < end; }
  // The rows to list: where whole rows are wanted and most of them, all of the plane.
  __device__ StencilRange listed(bool whole_rows, int size) const {
    return whole_rows && most_of(count(), size) ? StencilRange(0, size, size) : *this;
  }
};

// visit(item, channel, row, column) for each listed element, some lanes to a row: one division a row.
template <class Visit>
__device__ inline void for_each_item(const StencilPlan& plan, int rows, int columns, const Visit& visit) {
  const int lanes = columns <= 4 ? 4 : columns <= 8 ? 8 : columns <= 16 ? 16 : 32;
  const int first = int(threadIdx.x) / lanes, step = plan.block_threads / lanes, lane = int(threadIdx.x) % lanes;
  for (int line = first; line < plan.tile.listed * rows; line += step) {
    const int channel = line / rows, row = line - channel * rows;
    for (int column = lane; column < columns; column += lanes) visit(line * columns + column, channel, row, column);
  }
}

// The threads that work off a list together, and which of the lists are theirs: every `step`-th from `first` on. Of a
// list, a warp's first entry is `begin`, a thread's the `lane`-th of its warp's; idle lanes have none. Of 8 entries to
// half a warp, one half takes the even ones: windows that begin a row may lie where the last one of a row ends.
struct StencilTeam {
  int begin, items, lane, first, step;

  __device__ StencilTeam(int threads, int step, int half_warp_items) : step(step) {
    const int team = int(threadIdx.x) / threads, in_half = int(threadIdx.x) % 16;
    const int warp = (int(threadIdx.x) - team * threads) / 32;
    begin = warp * 2 * half_warp_items, items = threads / 16 * half_warp_items;
    const int half = int(threadIdx.x) % 32 / 16;
    lane = half_warp_items == 8 ? 2 * in_half + half : half * half_warp_items + in_half;
    if (in_half >= half_warp_items) lane = 1 << 30;
    first = team < step ? team : INT32_MAX;
  }
};

// Images of a block, channels of a step.
struct StencilCounts {
  int images, channels;
};

// Floats from the beginning of a sector to there.
__device__ inline int sector_offset(const float* there) {
  return int(reinterpret_cast<std::uintptr_t>(there) / sizeof(float)) & 7;
}

// copy(image, channel, item) for what is listed of each, the lanes of a warp from a sector of `from` on.
template <class Copy>
__device__ inline void for_each_copy(const StencilTile& tile, const StencilCounts& counts, const StencilTeam& team,
                                     const StencilList& list, const float* from, int image_floats, int channel_floats,
                                     const Copy& copy) {
  const int parts = counts.channels <= tile.listed ? 1 : (counts.channels + tile.listed - 1) / tile.listed;
  for (int run = team.first; run < counts.images * parts; run += team.step) {
    const int n = parts == 1 ? run : run / parts, channel = (run - n * parts) * tile.listed;
    const int left = counts.channels - channel, items = (left < tile.listed ? left : tile.listed) * list.channel_items;
    const int offset = sector_offset(from + (n * image_floats + channel * channel_floats + list.first));
    // `first` is the same for a warp's lanes.
    for (int first = team.begin - offset; first < items; first += team.items) {
      if (unsigned(first + team.lane) >= unsigned(items)) continue;
      const StencilItem item = list.items[first + team.lane];
      if (item.from >= 0) copy(n, channel, item);
    }
  }
}

// copy(image, first channel, item) where every `period`-th channel's plane begins at the same place of a sector: an
// item is looked up once for all of them.
template <class Copy>
__device__ inline void for_each_shared_copy(int period, const StencilCounts& counts, const StencilTeam& team,
                                            const StencilList& list, const float* from, int image_floats,
                                            int channel_floats, const Copy& copy) {
  const int parts = period < counts.channels ? period : counts.channels, items = list.channel_items;
  for (int run = team.first; run < counts.images * parts; run += team.step) {
    const int n = parts == 1 ? run : run / parts, channel = run - n * parts;
    const int offset = sector_offset(from + (n * image_floats + channel * channel_floats + list.first));
    for (int first = team.begin - offset; first < items; first += team.items) {
      if (unsigned(first + team.lane) >= unsigned(items)) continue;
      const StencilItem item = list.items[first + team.lane];
      if (item.from >= 0) copy(n, channel, item);
    }
  }
}

// ---- sources: list() names the copies, load() starts those of some channels, from `channel` on, of a block's images

// Planes in memory. Items are an image's elements in the order of memory: neighbouring lanes read neighbouring floats.
struct PlaneSource {
  static constexpr bool kShifts = false;

  const float* data;

  __device__ StencilList list(const StencilPlan& plan, int first_row, int first_column, StencilItem* items) const {
    const StencilProblem& p = plan.problem;
    const int top = p.stride * first_row - p.padding, left = p.stride * first_column - p.padding;
    const StencilRange rows(top, p.source_rows(plan.tile.down), p.height);
    const StencilRange columns(left, p.source_columns(plan.tile.across), p.width);
    const StencilRange listed = rows.listed(columns.count() == p.width, p.height);
    for_each_item(plan, listed.count(), columns.count(), [&](int i, int channel, int down, int right) {
      const int row = listed.begin + down, column = columns.begin + right;
      const int to = channel * plan.tile.channel_pitch + row_offset(plan.tile, row - top) +
                     column_offset(plan.tile, column - left, p.stride);
      items[i] = {rows.holds(row) ? (channel * p.height + row) * p.width + column : -1, to};
    });
    return {items, listed.count() * columns.count(), listed.begin * p.width + columns.begin};
  }

  __device__ void load(const StencilPlan& plan, index_t image, int channel, const StencilCounts& counts,
                       const StencilTeam& team, const StencilList& list, float* tile) const {
    const StencilProblem& p = plan.problem;
    const int plane = p.height * p.width, pitch = plan.tile.channel_pitch, floats = p.channels * p.groups * plane;
    const float* from = data + (image * p.groups + int(blockIdx.z)) * p.channels * plane + channel * plane;
    const int period = plan.tile.copy_period;
    if (period == 0) {
      return for_each_copy(plan.tile, counts, team, list, from, floats, plane,
                           [&](int n, int c, const StencilItem& item) {
                             simt::async_copy<4>(tile + n * plan.tile.image_pitch + c * pitch + item.to,
                                                 from + (n * floats + c * plane + item.from));
                           });
    }
    const auto copy = [&](int n, int first, const StencilItem& item) {
      const float* at = from + (n * floats + first * plane + item.from);
      float* to = tile + n * plan.tile.image_pitch + first * pitch + item.to;
      for (int c = first; c < counts.channels; c += period, at += period * plane, to += period * pitch) {
        simt::async_copy<4>(to, at);
      }
    };
    for_each_shared_copy(period, counts, team, list, from, floats, plane, copy);
  }
};

// The expanded gradient of a fused block. Items are windows; `from` holds a channel and a window of it, `to` four bits,
// which of its pixels are in the tile.
struct WindowSource {
  static constexpr bool kShifts = true;

  PooledGradient gradient;

  __device__ StencilList list(const StencilPlan& plan, int first_row, int first_column, StencilItem* items) const {
    const StencilProblem& p = plan.problem;
    const int top = first_row - p.padding, left = first_column - p.padding;
    const int row_count = p.source_rows(plan.tile.down), column_count = p.source_columns(plan.tile.across);
    const StencilRange rows(top >> 1, ((top + row_count + 1) >> 1) - (top >> 1), gradient.height);
    const StencilRange columns(left >> 1, ((left + column_count + 1) >> 1) - (left >> 1), gradient.width);
    const StencilRange listed = rows.listed(columns.count() == gradient.width, gradient.height);
    for_each_item(plan, listed.count(), columns.count(), [&](int i, int channel, int row, int column) {
      row += listed.begin, column += columns.begin;
      const int down = 2 * row - top, right = 2 * column - left + p.shift;
      int inside = 0;
      for (int place = 0; place < 4; ++place) {
        const bool in_row = pairs_whole(p) || unsigned(right + place % 2) < unsigned(column_count);
        inside |= in_row && unsigned(down + place / 2) < unsigned(row_count) ? 1 << place : 0;
      }
      const int to = channel * plan.tile.channel_pitch + row_offset(plan.tile, down) + right;
      const int from = channel << kWindowBits | (row * gradient.width + column);
      items[i] = {rows.holds(row) ? from : -1, to * 16 + inside};
    });
    return {items, listed.count() * columns.count(), listed.begin * gradient.width + columns.begin};
  }

  __device__ void load(const StencilPlan& plan, index_t image, int channel, const StencilCounts& counts,
                       const StencilTeam& team, const StencilList& list, float* tile) const {
    const StencilProblem& p = plan.problem;
    const int windows = gradient.windows(), bytes = int(gradient.plane_bytes()), planes = p.channels * p.groups;
    const index_t plane = (image * p.groups + int(blockIdx.z)) * p.channels + channel;
    const float *y = gradient.y + plane * windows, *dy = gradient.dy + plane * windows;
    const std::uint8_t* route = gradient.route + plane * bytes;
    const bool whole = pairs_whole(p);
    const int below = p.padding % 2 != 0 ? plan.tile.pair_pitch - plan.tile.row_pitch : plan.tile.row_pitch;
    for_each_copy(
        plan.tile, counts, team, list, dy, planes * windows, windows, [&](int n, int c, const StencilItem& item) {
          const int from = n * planes + c + (item.from >> kWindowBits), window = item.from & ((1 << kWindowBits) - 1);
          const int place = route[from * bytes + (window >> 2)] >> (window % 4 * 2) & 3;
          const int element = from * windows + window;
          const float value = bend(dy[element], y[element], gradient.slope);
          const int to = n * plan.tile.image_pitch + c * plan.tile.channel_pitch + (item.to >> 4);
          expand_window(item.to, whole, value, place, tile + to, below);
        });
  }

 private:
  // Whether both pixels of a window's row are in the tile, at an even column: one store without bank conflicts.
  __device__ static bool pairs_whole(const StencilProblem& p) { return (p.padding + p.shift) % 2 == 0; }

  __device__ static void expand_window(int inside, bool whole, float value, int place, float* to, int below) {
    if (whole) {
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

// ---- weights [step's channels, block's filter groups, filters of a thread, taps]

enum class StencilTurn { no, yes };

template <int kKernel, int kFilters>
struct StencilWeights {
  static constexpr int kTaps = kKernel * kKernel, kGroupWeights = kFilters * kTaps;
  static constexpr int kGroupPitch = group_weights(kKernel, kFilters);
  static constexpr bool kWraps = kKernel == 3;
  static constexpr int kCopiedChannels = kWraps ? 8 : 4;
  // Lanes that copy whole sectors: 32 neighbours would meet in banks where channels or groups end.
  static constexpr int kFilterLanes = 24, kChannelLanes = kGroupPitch == kGroupWeights ? 32 : 24;

  __device__ static int group_offset(const StencilPlace& at) {
    return (at.filter - at.block_filter) / kFilters * kGroupPitch;
  }

  // w is [groups * filters, channels, taps] or, of an adjoint, whose filters are the channels of w, [groups * channels,
  // filters, taps]: the taps of a filter's channels or of a channel's filters are a run. One channel or filter is both.
  // Copies so many channels from `channel` on to `first` and behind in the ring of buffers, `to`.
  template <StencilTurn kTurn>
  __device__ static void load(const StencilPlan& plan, const StencilPlace& at, const float* w, int channel, int count,
                              int first, float* to) {
    const StencilProblem& p = plan.problem;
    const int all = plan.tile.filter_groups * kFilters, left = p.filters - at.block_filter;
    const int filters = all < left ? all : left;
    if (kTurn == StencilTurn::yes ? p.filters > 1 : p.channels == 1) {
      w += ((index_t(at.group) * p.channels + channel) * p.filters + at.block_filter) * kTaps;
      load_channels(plan, w, filters, count, to + first * plan.tile.weight_pitch);
    } else {
      w += ((index_t(at.group) * p.filters + at.block_filter) * p.channels + channel) * kTaps;
      load_filters(plan, w, filters, first, count, to);
    }
  }

 private:
  // Of a channel's weights, where the i-th is.
  __device__ static int offset(unsigned i) { return int(i / kGroupWeights * kGroupPitch + i % kGroupWeights); }

  // A warp to a filter. Where a lane's copies go is the same for all that begin at the same place of a sector.
  __device__ static void load_filters(const StencilPlan& plan, const float* w, int filters, int first, int count,
                                      float* to) {
    constexpr int kPasses = (kCopiedChannels * kTaps + 7 + kFilterLanes - 1) / kFilterLanes;
    const int ring = plan.weight_buffers() * plan.most_channels();
    if (!kWraps) to += first * plan.tile.weight_pitch;
    const int warp = int(threadIdx.x) / 32, warps = plan.block_threads / 32, lane = int(threadIdx.x) % 32;
    int places[kPasses] = {}, skew = -1;
    for (int f = warp; f < filters; f += warps) {
      const float* from = w + index_t(f) * plan.problem.channels * kTaps;
      if (sector_offset(from) != skew) {
        skew = sector_offset(from);
#pragma unroll
        for (int pass = 0; pass < kPasses; ++pass) {
          const unsigned i = unsigned(pass * kFilterLanes + lane - skew);
          const bool exists = lane < kFilterLanes && i < unsigned(count * kTaps);
          int on = int(i / kTaps);
          if (kWraps) on = on < ring - first ? on + first : on + first - ring;
          places[pass] = exists ? on * plan.tile.weight_pitch + int(i % kTaps) : -1;
        }
      }
      from += lane - skew;
      float* filter = to + offset(unsigned(f * kTaps));
#pragma unroll
      for (int pass = 0; pass < kPasses; ++pass) {
        if (places[pass] >= 0) simt::async_copy<4>(filter + places[pass], from + pass * kFilterLanes);
      }
    }
  }

  // All warps to a channel, the next with those that begin at the same place of a sector.
  __device__ static void load_channels(const StencilPlan& plan, const float* w, int filters, int count, float* to) {
    const int warp = int(threadIdx.x) / 32, warps = plan.block_threads / 32, lane = int(threadIdx.x) % 32;
    const int channel = plan.problem.filters * kTaps, run = filters * kTaps, unequal = channel & 7;
    const int period = unequal == 0 ? 1 : unequal == 4 ? 2 : count;
    for (int phase = 0; phase < period && phase < count; ++phase) {
      const float* from = w + index_t(phase) * channel;
      for (int first = warp * kChannelLanes - sector_offset(from); first < run; first += warps * kChannelLanes) {
        const unsigned i = unsigned(first + lane);
        if (lane >= kChannelLanes || i >= unsigned(run)) continue;
        const float* tap = from + i;
        float* place = to + phase * plan.tile.weight_pitch + offset(i);
        for (int c = phase; c < count; c += period) {
          simt::async_copy<4>(place, tap);
          tap += period * channel, place += period * plan.tile.weight_pitch;
        }
      }
    }
  }
};

}  // namespace espalier::kernels
