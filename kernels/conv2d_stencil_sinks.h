// What a block of conv2d_stencil_kernel.h does with its sums: bias and activation, then all of them to memory, or what
// a 2x2 pool leaves and which of its pixels won. Strips of rows that are no whole sectors gather in shared memory
// first: by rows (conv2d_stencil_rows.h), or filter by filter.
#pragma once
#include "kernels/conv2d_stencil_rows.h"
#include "kernels/conv2d_stencil_sources.h"
#include "kernels/gemm_tile.h"
#include "kernels/pool_math.h"

namespace espalier::kernels {

// ---- sinks: store() takes the sums of all threads of the block; join() may add blocks that takes_block() works off

struct LoneSink {
  static constexpr bool kStrides = false;  // takes the strips of a strided convolution
  static constexpr bool kCells = false;    // takes strips of cells

  static const simt::Launch& join(const simt::Launch& launch) { return launch; }
  __device__ static bool takes_block(const StencilPlan&) { return false; }
};

// To shared memory: lanes share a filter's bias, which a load from there serves in one wavefront.
__device__ inline void copy_biases(const StencilPlan& plan, const StencilPlace& at, const float* bias, float* biases) {
  const int block_filters = plan.tile.filter_groups * plan.filters_per_thread, filters = plan.problem.filters;
  for (int f = int(threadIdx.x); f < block_filters && bias != nullptr; f += plan.block_threads) {
    const int filter = at.block_filter + f;
    biases[f] = filter < filters ? bias[at.group * filters + filter] : 0.0f;
  }
}

// One, two or four floats, which begin at a multiple of as many on both sides.
__device__ inline void copy_vector(int floats, const float* from, float* to) {
  if (floats == 4) {
    *reinterpret_cast<float4*>(to) = *reinterpret_cast<const float4*>(from);
  } else if (floats == 2) {
    *reinterpret_cast<float2*>(to) = *reinterpret_cast<const float2*>(from);
  } else {
    *to = *from;
  }
}

template <int kFilters>
using StencilSums = float[kFilters][kStripRows][kStripColumns];

// y or dx [batch, groups * filters, out_height, out_width], with bias and activation.
struct StripSink : LoneSink {
  static constexpr bool kStrides = true;

  StripSink(float* y, index_t width, const float* bias = nullptr, float slope = 1.0f)
      : y(y),
        bias(bias),
        slope(slope),
        aligned(rows_aligned(y, width)),
        half_aligned(reinterpret_cast<std::uintptr_t>(y) % 8 == 0 && width % 2 == 0),
        begins_aligned(reinterpret_cast<std::uintptr_t>(y) % 16 == 0) {}

  float* y;
  const float* bias;
  float slope;
  bool aligned, half_aligned;  // strips begin at multiples of 16 bytes, of 8
  bool begins_aligned;         // y does, at one of 16

  __device__ void begin(const StencilPlan& plan, const StencilPlace& at, float* biases, char*) const {
    copy_biases(plan, at, bias, biases);
  }

  template <int kFilters>
  __device__ void store(const StencilPlan& plan, const StencilPlace& at, index_t image,
                        const StencilSums<kFilters>& sums, const float* biases, char* scratch) const {
    const StencilProblem& p = plan.problem;
    float* stage = reinterpret_cast<float*>(scratch);
    if (plan.tile.staged) return store_planes<kFilters>(plan, at, image, sums, biases, stage);
    if constexpr (leaves_by_rows(kFilters)) {
      if (plan.tile.lower_rows > 0 && begins_aligned) {
        return store_rows<kFilters>(plan, at, image, sums, biases, stage);
      }
    }
    if (!at.active || image + at.image >= p.batch) return;
    const int row = at.first_row(), column = at.first_column();
    float* to = plane_of(p, at, image + at.image, at.filter);
#pragma unroll
    for (int f = 0; f < kFilters; ++f, to += p.out_height * p.out_width) {
      if (at.filter + f >= p.filters) return;
      const float shift = bias_of(biases, at, f);
#pragma unroll
      for (int r = 0; r < kStripRows; ++r) {
        if (row + r >= p.out_height) continue;
        float values[kStripColumns];
        finish(shift, sums[f][r], values);
        float* strip = to + (row + r) * p.out_width + column;
        const int left = p.out_width - column;
        if (half_aligned && !aligned) {  // an even number is left, of the last tile's last strips none
          if (left > 0) *reinterpret_cast<float2*>(strip) = make_float2(values[0], values[1]);
          if (left > 2) *reinterpret_cast<float2*>(strip + 2) = make_float2(values[2], values[3]);
        } else {
          store_run(strip, left, aligned, values);
        }
      }
    }
  }

 private:
  __device__ float* plane_of(const StencilProblem& p, const StencilPlace& at, index_t image, int filter) const {
    return y + ((image * p.groups + at.group) * p.filters + filter) * p.out_height * p.out_width;
  }

  __device__ float bias_of(const float* biases, const StencilPlace& at, int f) const {
    return bias == nullptr ? 0.0f : biases[at.filter - at.block_filter + f];
  }

  __device__ void finish(float shift, const float (&sums)[kStripColumns], float (&values)[kStripColumns]) const {
#pragma unroll
    for (int c = 0; c < kStripColumns; ++c) {
      const float value = sums[c] + shift;
      values[c] = slope == 1.0f ? value : bend(value, value, slope);
    }
  }

  // Both rows of a strip, `lower` vectors apart.
  __device__ void stage_strip(const float (&sums)[kStripRows][kStripColumns], float shift, int lower,
                              float4* to) const {
#pragma unroll
    for (int r = 0; r < kStripRows; ++r) {
      float values[kStripColumns];
      finish(shift, sums[r], values);
      to[r * lower] = make_float4(values[0], values[1], values[2], values[3]);
    }
  }

  // As conv2d_stencil_rows.h says.
  template <int kFilters>
  __device__ void store_rows(const StencilPlan& plan, const StencilPlace& at, index_t image,
                             const StencilSums<kFilters>& sums, const float* biases, float* stage) const {
    constexpr int kStaged = filters_by_rows(kFilters);
    const StencilProblem& p = plan.problem;
    const int strips = plan.tile.down * plan.tile.across, group = (at.filter - at.block_filter) / kFilters;
    float4* to = reinterpret_cast<float4*>(stage) + group * kStaged * strips + at.down * plan.tile.across + at.across;
#pragma unroll
    for (int f = 0; f < kFilters; ++f) {
      const int i = f % kStaged;
      if (i == 0 && f > 0) __syncthreads();  // all have left the last ones
      if (at.active) stage_strip(sums[f], bias_of(biases, at, f), plan.tile.lower_rows / 4, to + i * strips);
      if (i + 1 < kStaged && f + 1 < kFilters) continue;
      __syncthreads();
      const StripRows part(plan, at, f - i, i + 1);
      if (part.count <= 0) continue;
      float* first = plane_of(p, at, image, at.block_filter + part.group * kFilters + f - i) + at.row * p.out_width;
      const float* from = stage + kStripColumns * part.group * kStaged * strips;
      p.out_width % 4 == 0 ? store_strip_rows<4>(plan, part, from, first)
                           : store_strip_rows<2>(plan, part, from, first);
    }
  }

  // By way of shared memory [rows of a strip, filter groups, strips of the block, 4]: neighbouring lanes then store
  // neighbouring floats of a plane, whole sectors whatever a row's length.
  template <int kFilters>
  __device__ void store_planes(const StencilPlan& plan, const StencilPlace& at, index_t image,
                               const StencilSums<kFilters>& sums, const float* biases, float* stage) const {
    const int threads = plan.tile.team_threads();
    float4* to = reinterpret_cast<float4*>(stage) + threadIdx.x;  // as float4, or stores come apart
#pragma unroll
    for (int f = 0; f < kFilters; ++f) {
      __syncthreads();  // all have multiplied, or left the last filter
      if (at.active) stage_strip(sums[f], bias_of(biases, at, f), threads, to);
      __syncthreads();
      unload(plan, at, image, kFilters, f, stage);
    }
  }

  // The staged planes of each group's filter `f`, a warp to a plane, four floats to a lane, two or one.
  __device__ void unload(const StencilPlan& plan, const StencilPlace& at, index_t image, int group_filters, int f,
                         const float* stage) const {
    const int run_floats = aligned ? 4 : half_aligned ? 2 : 1;
    const StencilProblem& p = plan.problem;
    const StencilTile& tile = plan.tile;
    const int warp = int(threadIdx.x) / 32, warps = plan.block_threads / 32, lane = int(threadIdx.x) % 32;
    const int pitch = kStripColumns * tile.across, row_floats = kStripColumns * tile.team_threads();
    const int rows = kStripRows * tile.down, left = p.out_height - at.row,
              count = (rows < left ? rows : left) * p.out_width;
    const float a_column = 1.0f / float(p.out_width);  // a tile has too few elements for its rounding to matter
    for (int run = warp; run < tile.filter_groups * tile.images; run += warps) {
      const int group = run / tile.images, n = run - group * tile.images;
      const int filter = at.block_filter + group * group_filters + f;
      if (filter >= p.filters || image + n >= p.batch) continue;
      float* to = plane_of(p, at, image + n, filter) + at.row * p.out_width;
      const float* strips = stage + kStripColumns * group * tile.group_threads + n * tile.down * pitch;
      for (int first = -sector_offset(to); first < count; first += 32 * run_floats) {
        const int i = first + lane * run_floats;
        if (unsigned(i) >= unsigned(count)) continue;
        const int row = int((float(i) + 0.5f) * a_column), column = i - row * p.out_width;
        const float* from = strips + (row & 1) * row_floats + (row >> 1) * pitch + column;
        copy_vector(run_floats, from, to + i);
      }
    }
  }
};

// y [batch, groups * filters, windows] and the route: places gather in scratch [images, filters, windows], a byte each,
// so that neighbouring lanes write neighbouring bytes of the route. Where rows have an odd number of windows these
// gather behind [filters, threads, 2], for the same reason.
struct PoolSink : LoneSink {
  float* y;
  std::uint8_t* route;  // or null
  const float* bias;
  float slope;
  bool aligned;  // pairs of windows begin at multiples of 8 bytes

  __device__ void begin(const StencilPlan& plan, const StencilPlace& at, float* biases, char* places) const {
    copy_biases(plan, at, bias, biases);
    // What no window writes stays zero.
    for (int i = int(threadIdx.x); i < plan.route_bytes(); i += plan.block_threads) places[i] = 0;
  }

  template <int kFilters>
  __device__ void store(const StencilPlan& plan, const StencilPlace& at, index_t image,
                        const StencilSums<kFilters>& sums, const float* biases, char* scratch) const {
    const StencilProblem& p = plan.problem;
    std::uint8_t* places = reinterpret_cast<std::uint8_t*>(scratch);
    float* stage = plan.tile.staged ? reinterpret_cast<float*>(scratch + plan.route_bytes()) : nullptr;
    const int across = p.out_width / 2, row = at.first_row() / 2, column = at.first_column() / 2;
    const int left = row < p.out_height / 2 && at.active && image + at.image < p.batch ? across - column : 0;
    const int block_filters = plan.tile.filter_groups * kFilters, windows = plan.place_bytes();
    const int first = (at.image * block_filters + at.filter - at.block_filter) * windows + at.down * across + column;
    if (left > 0) {
#pragma unroll
      for (int f = 0; f < kFilters; ++f) {
        if (at.filter + f >= p.filters) break;
        const int filter = at.group * p.filters + at.filter + f;
        const float shift = bias == nullptr ? 0.0f : biases[at.filter - at.block_filter + f];
        int place[2];
        float best[2];
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          const float(&z)[2][4] = sums[f];
          const float four[4] = {z[0][2 * i], z[0][2 * i + 1], z[1][2 * i], z[1][2 * i + 1]};
          best[i] = pool_window(four, place[i]) + shift;
          best[i] = bend(best[i], best[i], slope);
        }
        float* to = stage;
        if (stage == nullptr) {
          to = y + (((image + at.image) * p.filters * p.groups + filter) * (p.out_height / 2) + row) * across + column;
        } else {
          to += 2 * (f * plan.tile.team_threads() + int(threadIdx.x));
        }
        store_windows(to, places + first + f * windows, left, stage != nullptr, best, place);
      }
    }
    if (route == nullptr && stage == nullptr) return;
    __syncthreads();
    if (stage != nullptr) unload<kFilters>(plan, at, image, stage);
    if (route != nullptr) write_route(plan, at, image, places);
  }

 private:
  __device__ static float pool_window(const float (&four)[4], int& place) {
    float best = four[0];
    place = 0;
#pragma unroll
    for (int i = 1; i < 4; ++i) {
      const bool better = wins(four[i], best);
      best = better ? four[i] : best, place = better ? i : place;
    }
    return best;
  }

  __device__ void store_windows(float* to, std::uint8_t* places, int left, bool staged, const float (&best)[2],
                                const int (&place)[2]) const {
    if (staged || aligned) *reinterpret_cast<float2*>(to) = make_float2(best[0], best[1]);
    if (aligned) {  // then an even number is left
      *reinterpret_cast<std::uint16_t*>(places) = std::uint16_t(place[0] + 256 * place[1]);
      return;
    }
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      if (i >= left) continue;
      if (!staged) to[i] = best[i];
      places[i] = std::uint8_t(place[i]);
    }
  }

  // The staged windows, a warp to an image and filter group: all its filters' planes are one run, if they are whole.
  // Three sectors at a time, since 32 lanes would meet in banks where rows end.
  template <int kFilters>
  __device__ void unload(const StencilPlan& plan, const StencilPlace& at, index_t image, const float* stage) const {
    constexpr int kLanes = 24;
    const StencilProblem& p = plan.problem;
    const StencilTile& tile = plan.tile;
    const int warp = int(threadIdx.x) / 32, warps = plan.block_threads / 32, lane = int(threadIdx.x) % 32;
    const int across = p.out_width / 2, down = p.out_height / 2, rows_left = down - at.row / 2;
    const int windows = (tile.down < rows_left ? tile.down : rows_left) * across,
              together = windows == down * across ? kFilters : 1;
    const int filter_floats = 2 * tile.team_threads(), units = kFilters / together,
              runs = tile.images * tile.filter_groups * units;
    const float a_plane = 1.0f / float(windows), a_row = 1.0f / float(across);  // of so few their rounding is none
    for (int run = warp; run < runs; run += warps) {
      const int f = run % units, both = run / units, n = both / tile.filter_groups,
                group = both - n * tile.filter_groups;
      const int filter = at.block_filter + group * kFilters + f, left = p.filters - filter;
      if (left <= 0 || image + n >= p.batch) continue;
      float* to = y + ((((image + n) * p.groups + at.group) * p.filters + filter) * down + at.row / 2) * across;
      const float* from = stage + f * filter_floats + 2 * (group * tile.group_threads + n * tile.down * tile.across);
      const int count = (together < left ? together : left) * windows;
      for (int first = -sector_offset(to); first < count; first += kLanes) {
        const int i = first + lane;
        if (lane >= kLanes || unsigned(i) >= unsigned(count)) continue;
        const int plane = int((float(i) + 0.5f) * a_plane), window = i - plane * windows;
        const int row = int((float(window) + 0.5f) * a_row), column = window - row * across;
        to[i] = from[plane * filter_floats + row * 2 * tile.across + column];
      }
    }
  }

  // Where at least half of a plane's bytes are the tile's, lanes go through all of them from a sector on, so that none
  // is written in pieces.
  __device__ void write_route(const StencilPlan& plan, const StencilPlace& at, index_t image,
                              const std::uint8_t* places) const {
    const StencilProblem& p = plan.problem;
    const int block_filters = plan.tile.filter_groups * plan.filters_per_thread, left = p.filters - at.block_filter;
    const int across = p.out_width / 2, bytes = plan.place_bytes() / 4, first = at.row / 2 * across / 4;
    const int plane_bytes = int(route_plane_bytes(index_t(p.out_height / 2) * across));
    const int listed = 2 * bytes >= plane_bytes ? plane_bytes : bytes, begin = listed == bytes ? first : 0;
    const int count = (block_filters < left ? block_filters : left) * listed;
    const float a_plane = 1.0f / float(listed);  // of so few its rounding is none
    for (int n = 0; n < plan.tile.images && image + n < p.batch; ++n) {
      const index_t plane = ((image + n) * p.groups + at.group) * p.filters + at.block_filter;
      std::uint8_t* to = route + plane * plane_bytes + begin;
      const unsigned* from = reinterpret_cast<const unsigned*>(places) + n * block_filters * bytes;
      for (int i = int(threadIdx.x) - int(reinterpret_cast<std::uintptr_t>(to) & 31); i < count;
           i += plan.block_threads) {
        const int f = int((float(i) + 0.5f) * a_plane), byte = i - f * listed, place = begin + byte - first;
        if (i < 0 || unsigned(place) >= unsigned(bytes) || begin + byte >= plane_bytes) continue;
        unsigned four = from[f * bytes + place];
        four |= four >> 6;
        four |= four >> 12;
        to[f * plane_bytes + byte] = std::uint8_t(four);
      }
    }
  }
};

}  // namespace espalier::kernels
