// What a block of conv2d_stencil_kernel.h does with its sums: bias and activation, then all of them to memory, or what
// a 2x2 pool leaves and which of its pixels won.
#pragma once
#include "kernels/conv2d_stencil_sources.h"
#include "kernels/gemm_tile.h"
#include "kernels/pool_math.h"

namespace espalier::kernels {

// ---- sinks: store() takes the sums of all threads of the block; join() may add blocks that takes_block() works off

struct LoneSink {
  static const simt::Launch& join(const simt::Launch& launch) { return launch; }
  __device__ static bool takes_block(const StencilPlan&) { return false; }
};

template <int kFilters>
using StencilSums = float[kFilters][kStripRows][kStripColumns];

// y or dx [batch, groups * filters, out_height, out_width], with bias and activation.
struct StripSink : LoneSink {
  StripSink(float* y, index_t width, const float* bias = nullptr, float slope = 1.0f)
      : y(y),
        bias(bias),
        slope(slope),
        aligned(rows_aligned(y, width)),
        half_aligned(reinterpret_cast<std::uintptr_t>(y) % 8 == 0 && width % 2 == 0) {}

  float* y;
  const float* bias;
  float slope;
  bool aligned, half_aligned;  // strips begin at multiples of 16 bytes, of 8

  __device__ static void clear(const StencilPlan&, std::uint8_t*) {}

  template <int kFilters>
  __device__ void store(const StencilPlan& plan, const StencilPlace& at, index_t image,
                        const StencilSums<kFilters>& sums, std::uint8_t*) const {
    const StencilProblem& p = plan.problem;
    if (!at.active || image + at.image >= p.batch) return;
    const int row = at.first_row(), column = at.first_column();
#pragma unroll
    for (int f = 0; f < kFilters; ++f) {
      if (at.filter + f >= p.filters) return;
      const int filter = at.group * p.filters + at.filter + f;
      const float shift = bias == nullptr ? 0.0f : bias[filter];
      float* to = y + ((image + at.image) * p.filters * p.groups + filter) * p.out_height * p.out_width;
#pragma unroll
      for (int r = 0; r < kStripRows; ++r) {
        if (row + r >= p.out_height) continue;
        float values[kStripColumns];
#pragma unroll
        for (int c = 0; c < kStripColumns; ++c) {
          const float value = sums[f][r][c] + shift;
          values[c] = slope == 1.0f ? value : bend(value, value, slope);
        }
        float* strip = to + (row + r) * p.out_width + column;
        const int left = p.out_width - column;
        if (half_aligned && !aligned) {  // an even number is left
          *reinterpret_cast<float2*>(strip) = make_float2(values[0], values[1]);
          if (left > 2) *reinterpret_cast<float2*>(strip + 2) = make_float2(values[2], values[3]);
        } else {
          store_run(strip, left, aligned, values);
        }
      }
    }
  }
};

// y [batch, groups * filters, windows] and the route: places gather in scratch [images, filters, windows], a byte each,
// so that neighbouring lanes write neighbouring bytes of the route.
struct PoolSink : LoneSink {
  float* y;
  std::uint8_t* route;  // or null
  const float* bias;
  float slope;
  bool aligned;  // pairs of windows begin at multiples of 8 bytes

  __device__ static int padded_windows(const StencilPlan& plan) {
    return (plan.tile.down * (plan.problem.out_width / 2) + 3) / 4 * 4;
  }
  __device__ static void clear(const StencilPlan& plan, std::uint8_t* places) {  // what no window writes stays zero
    for (int i = int(threadIdx.x); i < plan.tile.scratch_bytes; i += plan.block_threads) places[i] = 0;
  }

  template <int kFilters>
  __device__ void store(const StencilPlan& plan, const StencilPlace& at, index_t image,
                        const StencilSums<kFilters>& sums, std::uint8_t* places) const {
    const StencilProblem& p = plan.problem;
    const int across = p.out_width / 2, row = at.first_row() / 2, column = at.first_column() / 2;
    const int left = row < p.out_height / 2 && at.active && image + at.image < p.batch ? across - column : 0;
    const int block_filters = plan.tile.filter_groups * kFilters, windows = padded_windows(plan);
    const int first = (at.image * block_filters + at.filter - at.block_filter) * windows + at.down * across + column;
    if (left > 0) {
#pragma unroll
      for (int f = 0; f < kFilters; ++f) {
        if (at.filter + f >= p.filters) break;
        const int filter = at.group * p.filters + at.filter + f;
        const float shift = bias == nullptr ? 0.0f : bias[filter];
        int place[2];
        float best[2];
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          const float(&z)[2][4] = sums[f];
          const float four[4] = {z[0][2 * i], z[0][2 * i + 1], z[1][2 * i], z[1][2 * i + 1]};
          best[i] = pool_window(four, place[i]) + shift;
          best[i] = bend(best[i], best[i], slope);
        }
        float* to =
            y + (((image + at.image) * p.filters * p.groups + filter) * (p.out_height / 2) + row) * across + column;
        store_windows(to, places + first + f * windows, left, best, place);
      }
    }
    if (route == nullptr) return;
    __syncthreads();
    write_route(plan, at, image, places);
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

  __device__ void store_windows(float* to, std::uint8_t* places, int left, const float (&best)[2],
                                const int (&place)[2]) const {
    if (aligned) {  // then an even number is left
      *reinterpret_cast<float2*>(to) = make_float2(best[0], best[1]);
      *reinterpret_cast<std::uint16_t*>(places) = std::uint16_t(place[0] + 256 * place[1]);
      return;
    }
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      if (i < left) to[i] = best[i], places[i] = std::uint8_t(place[i]);
    }
  }

  __device__ void write_route(const StencilPlan& plan, const StencilPlace& at, index_t image,
                              const std::uint8_t* places) const {
    const StencilProblem& p = plan.problem;
    const int block_filters = plan.tile.filter_groups * plan.filters_per_thread, across = p.out_width / 2;
    const unsigned bytes = unsigned(padded_windows(plan)) / 4, first = unsigned(at.row / 2 * across) / 4;
    const unsigned plane_bytes = unsigned(route_plane_bytes(index_t(p.out_height / 2) * across));
    for (unsigned i = threadIdx.x; i < unsigned(plan.tile.images * block_filters) * bytes;
         i += unsigned(plan.block_threads)) {
      const unsigned plane = i / bytes, byte = first + i - plane * bytes;
      const int n = int(plane) / block_filters, filter = at.block_filter + int(plane) - n * block_filters;
      if (image + n >= p.batch || filter >= p.filters || byte >= plane_bytes) continue;
      unsigned four = reinterpret_cast<const unsigned*>(places)[i];
      four |= four >> 6;
      four |= four >> 12;
      const index_t to = (image + n) * p.filters * p.groups + index_t(at.group) * p.filters + filter;
      route[to * plane_bytes + byte] = std::uint8_t(four);
    }
  }
};

}  // namespace espalier::kernels
