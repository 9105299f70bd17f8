// The kernel of conv2d_stencil.h. Step by step it copies some channels of source and weights into one of two buffers
// while it multiplies out of the other: one barrier a step, copies in flight across it. A block whose weights fit into
// one step keeps them and loops over images. Shared memory: buffers, sums of teams, biases, the sink's scratch, lists.
#pragma once
#include <utility>

#include "kernels/conv2d_stencil_sinks.h"
#include "kernels/conv2d_stencil_sources.h"
#include "kernels/simt/vector_load.h"

namespace espalier::kernels {

// ---- the product

// Where the i-th weight of a filter and channel meets the patch, and which of a cell's results it adds to. Weights are
// turned here, where it costs nothing.
struct StencilTap {
  int result, row, column;
};
template <int kKernel, StencilTurn kTurn>
__device__ constexpr StencilTap stencil_tap(int i) {
  constexpr int kTaps = kKernel * kKernel;
  // Along an axis the middle weight leads to a cell's first result, the outer ones to its second.
  if (kKernel == kCellKernel) return {2 * int(i / 3 != 1) + int(i % 3 != 1), int(i / 3 == 0), int(i % 3 == 0)};
  if (kTurn == StencilTurn::yes) i = kTaps - 1 - i;
  return {0, i / kKernel, i % kKernel};
}

// What a thread sums: planes of a strip for each of its filters.
template <int kKernel, int kFilters>
using ThreadSums = StencilSums<kFilters * cell_results(kKernel)>;

// sums += one channel: `source` is the first of the strip's patch, `w` the thread's first filter.
template <int kKernel, int kFilters, int kShift, int kStride, StencilTurn kTurn>
__device__ inline void multiply_channel(const StencilTile& tile, const float* source, const float* w,
                                        ThreadSums<kKernel, kFilters>& sums) {
  constexpr int kTaps = weight_width(kKernel) * weight_width(kKernel);
  constexpr int kRows = kStride * (kStripRows - 1) + kKernel;
  float patch[kRows][kStride * kStripPatch];
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
#pragma unroll
    for (int half = 0; half < kStride; ++half) {
      const float* row = source + row_offset(tile, r, kStride) + half * tile.half_pitch;
#pragma unroll
      for (int i = 0; i < half_columns(kKernel, kStride, half); i += 4) {
        const bool one_used = i + 1 == half_columns(kKernel, kStride, half);
        const float4 four = one_used ? simt::load_shared(row + i) : *reinterpret_cast<const float4*>(row + i);
        float* to = patch[r] + kStride * i + half;
        to[0] = four.x, to[kStride] = four.y, to[2 * kStride] = four.z, to[3 * kStride] = four.w;
      }
    }
  }
#pragma unroll
  for (int first = 0; first < kFilters * kTaps; first += 4) {
    const float4 four = *reinterpret_cast<const float4*>(w + first);
    const float weights[4] = {four.x, four.y, four.z, four.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int f = (first + i) / kTaps;
      if (f >= kFilters) break;
      const StencilTap tap = stencil_tap<kKernel, kTurn>((first + i) % kTaps);
      float(&to)[kStripRows][kStripColumns] = sums[f * cell_results(kKernel) + tap.result];
#pragma unroll
      for (int r = 0; r < kStripRows; ++r) {
#pragma unroll
        for (int c = 0; c < kStripColumns; ++c) {
          to[r][c] += weights[i] * patch[tap.row + kStride * r][tap.column + kStride * c + kShift];
        }
      }
    }
  }
}

// The first team's sums += those of the others, through shared memory [other teams, sums, threads of a team].
template <int kPlanes>
__device__ inline void add_teams(const StencilTile& tile, int team, float* shared, StencilSums<kPlanes>& sums) {
  constexpr int kSums = kPlanes * kStripRows * kStripColumns;
  const int threads = tile.team_threads(), thread = int(threadIdx.x) - team * threads;
  const int pitch = tile.team_pitch(kPlanes);
  float* mine = shared + (team - 1) * pitch + thread;
  const auto for_each_sum = [&](const auto& visit) {
#pragma unroll
    for (int i = 0; i < kSums; ++i) {
      visit(sums[i / 8][i / 4 % 2][i % 4], i * threads);
    }
  };
  if (team > 0 && team < tile.teams) for_each_sum([&](float& sum, int at) { mine[at] = sum; });
  __syncthreads();
  for (int other = 1; team == 0 && other < tile.teams; ++other) {
    const float* theirs = shared + (other - 1) * pitch + thread;
    for_each_sum([&](float& sum, int at) { sum += theirs[at]; });
  }
}

template <int kKernel, int kFilters, int kShift, int kStride, StencilTurn kTurn, class Source, class Sink>
__global__ void __launch_bounds__(kStencilThreads, 1)
    conv2d_stencil_kernel(StencilPlan plan, Source source, const float* __restrict__ w, Sink sink) {
  using Weights = StencilWeights<weight_width(kKernel), kFilters>;
  if (sink.takes_block(plan)) return;
  constexpr int kChannels = stencil_channels(kStride);
  const StencilTile& tile = plan.tile;
  const StencilPlace at(plan);
  const int channels = plan.problem.channels, chunks = plan.steps();
  const int source_floats = plan.source_floats(), weight_floats = plan.weight_floats();
  float* sources = simt::dynamic_shared<float>();
  float* weights = sources + 2 * source_floats;
  const int weight_buffers = plan.weight_buffers();
  float* team_sums = weights + weight_buffers * weight_floats;
  float* biases = team_sums + tile.team_floats(plan.sum_planes());
  char* scratch = reinterpret_cast<char*>(biases + tile.bias_floats);
  StencilItem* items = reinterpret_cast<StencilItem*>(scratch + tile.scratch_bytes);
  for (int i = int(threadIdx.x); i < 2 * source_floats; i += plan.block_threads) sources[i] = 0.0f;  // the border
  sink.begin(plan, at, biases, scratch);
  const StencilList list = source.list(plan, at.row, at.column, items);
  const StencilTeam team(tile.copy_threads, tile.copy_step, tile.half_warp_items);
  __syncthreads();

  const index_t stride = tile.image_blocks * tile.images;
  const auto load = [&](index_t image, int chunk, int buffer, int weight_buffer) {
    const int channel = chunk * kChannels, left = channels - channel;
    const int count = left < kChannels ? left : kChannels;
    const index_t images = plan.problem.batch - image < tile.images ? plan.problem.batch - image : tile.images;
    source.load(plan, image, channel, {int(images), count}, team, list, sources + buffer * source_floats);
    if (weight_buffer >= 0 && (chunk & (tile.weight_steps - 1)) == 0) {
      const int most = tile.weight_steps * kChannels, first = weight_buffer * kChannels;
      Weights::template load<kTurn>(plan, at, w, channel, left < most ? left : most, first, weights);
    }
    simt::async_commit();
  };
  const int patch = at.image * tile.image_pitch + at.down * tile.pair_pitch + at.across * kStripColumns;
  index_t image = index_t(blockIdx.x / unsigned(tile.tiles_down * tile.tiles_across)) * tile.images;
  load(image, 0, 0, 0);
  int buffer = 0, weight_buffer = 0;
  for (; image < plan.problem.batch; image += stride) {
    ThreadSums<kKernel, kFilters> sums = {};
    for (int chunk = 0; chunk < chunks; ++chunk, buffer ^= 1) {
      simt::async_wait<0>();
      __syncthreads();  // this buffer has landed for all, and all have left the other
      const int next_buffer = weight_buffer + 1 < weight_buffers ? weight_buffer + 1 : 0;
      const bool last = chunk + 1 == chunks;
      if (const index_t next = last ? image + stride : image; next < plan.problem.batch) {
        load(next, last ? 0 : chunk + 1, buffer ^ 1, last ? -1 : next_buffer);  // a single step's weights stay
      }
      const int left = channels - chunk * kChannels;
      const float* from = sources + buffer * source_floats + patch;
      const float* taps = weights + weight_buffer * weight_floats + Weights::group_offset(at);
#pragma unroll 1
      for (int c = at.team; c < (left < kChannels ? left : kChannels); c += tile.teams) {
        multiply_channel<kKernel, kFilters, kShift, kStride, kTurn>(tile, from + c * tile.channel_pitch,
                                                                    taps + c * tile.weight_pitch, sums);
      }
      weight_buffer = next_buffer;
    }
    if (tile.teams > 1) add_teams(tile, at.team, team_sums, sums);
    // Of several steps, whose weights leave room.
    char* old_weights = reinterpret_cast<char*>(weights + weight_buffer * weight_floats);
    sink.template store<kFilters>(plan, at, image, sums, biases, tile.scratch_bytes > 0 ? scratch : old_weights);
  }
}

// Launches the kernel of a plan.
template <StencilTurn kTurn, class Source, class Sink>
void launch_stencil(const StencilPlan& plan, const Source& source, const float* w, const Sink& sink,
                    cudaStream_t stream, std::source_location where = std::source_location::current()) {
  const auto with = [&]<int kKernel, int kFilters, int kShift, int kStride>(
                        std::integer_sequence<int, kKernel, kFilters, kShift, kStride>) {
    simt::launch(conv2d_stencil_kernel<kKernel, kFilters, kShift, kStride, kTurn, Source, Sink>,
                 sink.join(plan.launch(stream, where)), plan, source, w, sink);
  };
  const bool many = plan.filters_per_thread >= 8;
  if constexpr (Sink::kCells) {
    plan.filters_per_thread == 4 ? with(std::integer_sequence<int, kCellKernel, 4, 0, 1>())
                                 : with(std::integer_sequence<int, kCellKernel, 2, 0, 1>());
    return;
  } else if (plan.problem.stride == 2) {
    if constexpr (Sink::kStrides) {
      many ? with(std::integer_sequence<int, 3, 8, 0, 2>()) : with(std::integer_sequence<int, 3, 4, 0, 2>());
    }
  } else if (plan.problem.kernel == 5) {
    many ? with(std::integer_sequence<int, 5, 10, 0, 1>()) : with(std::integer_sequence<int, 5, 5, 0, 1>());
  } else if (plan.problem.shift == 0) {
    many ? with(std::integer_sequence<int, 3, 8, 0, 1>()) : with(std::integer_sequence<int, 3, 4, 0, 1>());
  } else if constexpr (Source::kShifts) {
    many ? with(std::integer_sequence<int, 3, 8, 1, 1>()) : with(std::integer_sequence<int, 3, 4, 1, 1>());
  }
}

}  // namespace espalier::kernels
