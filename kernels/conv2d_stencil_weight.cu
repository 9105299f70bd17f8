// The weight gradient by stencil (conv2d_stencil.h). A block keeps a part of some images, x and dy, in shared memory; a
// thread sums all taps of one channel for kFilters filters in registers, a strip of 4 output pixels at a time: 288 to
// 500 multiply-adds from 14 or 15 128-bit reads, where an implicit GEMM, whose sums are few and whose k axis is the
// pixels, copies each input once per tap. Blocks share the images and leave parts to be added (conv2d_weight_parts.h).
// Costs flops(), and per block the gradient written and read once more.
#include <algorithm>

#include "kernels/conv2d_stencil_sources.h"
#include "kernels/grid.h"
#include "kernels/require.h"
#include "kernels/warp.h"

namespace espalier::kernels {
namespace {

constexpr int kWeightThreads = 256, kMostGroups = 10, kMostStrips = 256;
constexpr index_t kSharedBytes = 63 * 1024, kWeightBlocks = 128;
template <int kKernel>
constexpr int kWeightFilters = kKernel == 3 ? 8 : 5;  // sums of a thread: 72 or 125

// How the gradient is cut: of x and dy the same part of the same images, as two plans of sources.
struct WeightPlan {
  StencilPlan x, dy;
  int channels = 1, filter_groups = 1;  // of a block; a group is kWeightFilters filters, filter_groups apart
  int channel_tiles = 1, filter_tiles = 1;
  int lanes = 1;                           // that share the strips of one channel and filter group
  int group_lanes = 1;                     // of eight neighbours: so many filter groups, the rest channels
  int strips = 0;                          // of 4 pixels, of an image's part
  index_t units = 1, units_per_block = 1;  // parts of images, image by image
  index_t image_blocks = 1;

  __host__ __device__ int block_threads() const { return x.block_threads; }
  __host__ __device__ int x_floats() const { return channels * x.tile.channel_pitch; }
  int dy_floats(int kernel) const { return filter_groups * (kernel == 3 ? 8 : 5) * dy.tile.channel_pitch; }
  index_t blocks() const { return ceil_div(units, units_per_block); }
};

// Where the sums of a block go: dw + block * step, a filter's row `row` floats long; db likewise, or null.
struct WeightSink {
  float *dw, *db;
  index_t step;
};

// A thread's channel and first filter group in the block.
struct WeightPair {
  int channel, group, lane;
  bool active;

  __device__ explicit WeightPair(const WeightPlan& plan) {
    const int thread = int(threadIdx.x);
    lane = thread % plan.lanes;
    const int pair = thread / plan.lanes, octet = pair / 8, in_octet = pair % 8;
    if (plan.lanes > 1) {
      group = pair % plan.filter_groups, channel = pair / plan.filter_groups;
    } else {  // eight neighbours read few channels and few filters, no two of them from one bank
      const int across = plan.filter_groups / plan.group_lanes;
      group = octet % across * plan.group_lanes + in_octet % plan.group_lanes;
      channel = octet / across * (8 / plan.group_lanes) + in_octet / plan.group_lanes;
    }
    active = channel < plan.channels;
  }
};

// sums += the products of a strip. dy: the thread's first filter at the strip, `filter_step` floats from one to the
// next; x: the first row of the patch.
template <int kKernel, int kFilters>
__device__ inline void multiply_strip(const float* x, int row_pitch, const float* dy, int filter_step, bool with_bias,
                                      float (&sums)[kFilters][kKernel * kKernel], float (&bias)[kFilters]) {
  float gradient[kFilters][4];
#pragma unroll
  for (int f = 0; f < kFilters; ++f) {
    const float4 four = *reinterpret_cast<const float4*>(dy + f * filter_step);
    gradient[f][0] = four.x, gradient[f][1] = four.y, gradient[f][2] = four.z, gradient[f][3] = four.w;
  }
  if (with_bias) {
#pragma unroll
    for (int f = 0; f < kFilters; ++f) bias[f] += (gradient[f][0] + gradient[f][1]) + (gradient[f][2] + gradient[f][3]);
  }
#pragma unroll
  for (int row = 0; row < kKernel; ++row) {
    const float4* from = reinterpret_cast<const float4*>(x + row * row_pitch);
    const float4 low = from[0], high = from[1];
    const float patch[kStripPatch] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
#pragma unroll
    for (int f = 0; f < kFilters; ++f) {
#pragma unroll
      for (int pixel = 0; pixel < 4; ++pixel) {
#pragma unroll
        for (int tap = 0; tap < kKernel; ++tap) {
          sums[f][row * kKernel + tap] += gradient[f][pixel] * patch[tap + pixel];
        }
      }
    }
  }
}

// A block's sums to memory, by way of shared memory [filter groups, channels, taps]: neighbouring lanes write
// neighbouring floats.
template <int kKernel, int kFilters>
__device__ inline void store_weights(const WeightPlan& plan, const WeightPair& at, const WeightSink& to,
                                     float (&sums)[kFilters][kKernel * kKernel], float (&bias)[kFilters],
                                     float* shared) {
  constexpr int kTaps = kKernel * kKernel;
  const StencilProblem& p = plan.x.problem;
  const int all_filters = p.filters, row = p.channels * kTaps;
  const int first_channel = int(blockIdx.y) % plan.channel_tiles * plan.channels;
  const int first_filter = int(blockIdx.y) / plan.channel_tiles * plan.filter_groups * kFilters;
  const int left = p.channels - first_channel, channels = left < plan.channels ? left : plan.channels;
  for (int lanes = plan.lanes / 2; lanes > 0; lanes /= 2) {
#pragma unroll
    for (int f = 0; f < kFilters; ++f) {
#pragma unroll
      for (int tap = 0; tap < kTaps; ++tap) sums[f][tap] += __shfl_xor_sync(kFullWarp, sums[f][tap], lanes);
      bias[f] += __shfl_xor_sync(kFullWarp, bias[f], lanes);
    }
  }
  float* dw = to.dw + index_t(blockIdx.x) * to.step + index_t(blockIdx.z) * all_filters * row;
  const int run = channels * kTaps, pitch = plan.channels * kTaps;
#pragma unroll
  for (int f = 0; f < kFilters; ++f) {
    __syncthreads();
    if (at.active && at.lane == 0) {
#pragma unroll
      for (int tap = 0; tap < kTaps; ++tap) shared[at.group * pitch + at.channel * kTaps + tap] = sums[f][tap];
    }
    __syncthreads();
    for (int group = int(threadIdx.x) / 32; group < plan.filter_groups; group += plan.block_threads() / 32) {
      const int filter = first_filter + f * plan.filter_groups + group;
      if (filter >= all_filters) break;
      float* out = dw + index_t(filter) * row + first_channel * kTaps;
      const int skew = int(reinterpret_cast<std::uintptr_t>(out) / sizeof(float) % 32);  // a warp stores whole lines
      for (int i = int(threadIdx.x) % 32 - skew; i < run; i += 32) {
        if (i >= 0) out[i] = shared[group * pitch + i];
      }
    }
  }
  if (to.db == nullptr || first_channel > 0 || !at.active || at.channel > 0 || at.lane > 0) return;
  float* db = to.db + index_t(blockIdx.x) * to.step + index_t(blockIdx.z) * all_filters;
#pragma unroll
  for (int f = 0; f < kFilters; ++f) {
    const int filter = first_filter + f * plan.filter_groups + at.group;
    if (filter < all_filters) db[filter] = bias[f];
  }
}

// A strip of the tile, in x and in dy.
struct WeightStrip {
  int x, dy;
};

__device__ inline void list_strips(const WeightPlan& plan, WeightStrip* strips) {
  const StencilTile &x = plan.x.tile, &dy = plan.dy.tile;
  for (int i = int(threadIdx.x); i < x.images * plan.strips; i += plan.block_threads()) {
    const int image = i / plan.strips, strip = i % plan.strips, row = strip / x.across, column = strip % x.across * 4;
    strips[i] = {image * x.image_pitch + row_offset(x, row) + column,
                 image * dy.image_pitch + row_offset(dy, row) + column};
  }
}

template <int kKernel, class Gradient>
__global__ void __launch_bounds__(kWeightThreads, 1)
    conv2d_stencil_weight_kernel(WeightPlan plan, PlaneSource x, Gradient dy, WeightSink to) {
  constexpr int kFilters = kWeightFilters<kKernel>;
  const WeightPair at(plan);
  const StencilTile& tile = plan.x.tile;
  const int threads = plan.block_threads(), x_floats = plan.x_floats();
  const int step_floats = x_floats + plan.filter_groups * kFilters * plan.dy.tile.channel_pitch;
  const int first_channel = int(blockIdx.y) % plan.channel_tiles * plan.channels;
  const int first_filter = int(blockIdx.y) / plan.channel_tiles * plan.filter_groups * kFilters;
  float* buffers = simt::dynamic_shared<float>();
  StencilItem* x_items = reinterpret_cast<StencilItem*>(buffers + 2 * step_floats);
  StencilItem* dy_items = x_items + plan.x.tile.items;
  WeightStrip* strips = reinterpret_cast<WeightStrip*>(dy_items + plan.dy.tile.items);
  list_strips(plan, strips);

  int x_count = 0, dy_count = 0;
  const StencilTeam team{int(threadIdx.x) % 32, 32, int(threadIdx.x) / 32, threads / 32};
  const auto images_of = [&](index_t unit) {
    const index_t left = plan.x.problem.batch - unit % plan.image_blocks * tile.images;
    return int(left < tile.images ? left : tile.images);
  };
  const auto begin_part = [&](int part) {
    __syncthreads();
    for (int i = int(threadIdx.x); i < 2 * step_floats; i += threads) buffers[i] = 0.0f;  // borders
    const int row = part / tile.tiles_across * tile.down * kStripRows;
    const int column = part % tile.tiles_across * tile.across * kStripColumns;
    x_count = x.list(plan.x, row, column, x_items);
    dy_count = dy.list(plan.dy, row, column, dy_items);
    __syncthreads();
  };
  const auto load = [&](index_t unit, float* buffer) {
    const index_t image = unit % plan.image_blocks * tile.images;
    const int images = images_of(unit), channels = plan.x.problem.channels - first_channel;
    const int filters = plan.x.problem.filters - first_filter, block_filters = plan.filter_groups * kFilters;
    x.load(plan.x, image, first_channel, channels < plan.channels ? channels : plan.channels, team, x_items,
           images * x_count, buffer);
    dy.load(plan.dy, image, first_filter, filters < block_filters ? filters : block_filters, team, dy_items,
            images * dy_count, buffer + x_floats);
    simt::async_commit();
  };

  float sums[kFilters][kKernel * kKernel] = {}, bias[kFilters] = {};
  const index_t first = index_t(blockIdx.x) * plan.units_per_block;
  const index_t end = first + plan.units_per_block < plan.units ? first + plan.units_per_block : plan.units;
  int buffer = 0;
  for (index_t unit = first; unit < end; ++unit, buffer ^= 1) {
    const int part = int(unit / plan.image_blocks);
    if (unit == first || unit % plan.image_blocks == 0) {
      begin_part(part);
      load(unit, buffers + buffer * step_floats);
    }
    simt::async_wait<0>();
    __syncthreads();
    if (unit + 1 < end && (unit + 1) % plan.image_blocks != 0) load(unit + 1, buffers + (buffer ^ 1) * step_floats);
    const float* from = buffers + buffer * step_floats;
    const float* gradient = from + x_floats + at.group * plan.dy.tile.channel_pitch;
    const int count = at.active ? images_of(unit) * plan.strips : 0;
#pragma unroll 1
    for (int i = at.lane; i < count; i += plan.lanes) {
      const WeightStrip strip = strips[i];
      multiply_strip<kKernel, kFilters>(from + at.channel * tile.channel_pitch + strip.x, tile.row_pitch,
                                        gradient + strip.dy, plan.filter_groups * plan.dy.tile.channel_pitch,
                                        at.channel == 0, sums, bias);
    }
  }
  store_weights<kKernel, kFilters>(plan, at, to, sums, bias, buffers);
}

// ---- the plan

int rounded(int value, int unit) { return ceil_div(value, unit) * unit; }

StencilPlan source_plan(const Conv2dShape& s, bool of_x) {
  StencilPlan plan;
  plan.problem = {.kernel = of_x ? int(s.kernel_height) : 1,
                  .channels = int(of_x ? s.channels_per_group() : s.filters_per_group()),
                  .filters = int(s.filters_per_group()),
                  .groups = int(s.groups),
                  .height = int(of_x ? s.height : s.out_height()),
                  .width = int(of_x ? s.width : s.out_width()),
                  .out_height = int(s.out_height()),
                  .out_width = int(s.out_width()),
                  .padding = of_x ? int(s.padding) : 0,
                  .batch = s.batch};
  return plan;
}

// Eight neighbours read from different banks: strips in a row where they share a pair, else planes 4 floats apart (in
// banks, that is).
void set_source_pitches(StencilPlan& plan, int lanes) {
  StencilTile& tile = plan.tile;
  const int kernel = plan.problem.kernel, strips = kStripColumns * tile.across;
  tile.row_pitch = kernel == 1 ? strips : strips + kStripPatch - kStripColumns;
  if (lanes > 1 && kernel > 1) tile.row_pitch = strips + 32;
  tile.pair_pitch = 2 * tile.row_pitch;
  tile.image_pitch = (tile.down + kernel / 2) * tile.pair_pitch;
  tile.channel_pitch = tile.images * tile.image_pitch;
  if (lanes == 1) tile.channel_pitch += (36 - tile.channel_pitch % 32) % 32;
  tile.items = tile.images * std::min(plan.problem.source_rows(tile.down), plan.problem.height) *
               std::min(plan.problem.source_columns(tile.across), plan.problem.width);
}

index_t shared_bytes(const WeightPlan& plan) {
  const int kernel = plan.x.problem.kernel;
  const index_t buffers = 2 * index_t(plan.x_floats() + plan.dy_floats(kernel));
  const index_t sums = index_t(plan.filter_groups) * plan.channels * kernel * kernel;
  return 4 * std::max(buffers, sums) + 8 * index_t(plan.x.tile.items + plan.dy.tile.items) +
         8 * index_t(plan.strips) * plan.x.tile.images;
}

void set_tile(WeightPlan& plan, int images, int down, int across) {
  const StencilProblem& p = plan.x.problem;
  const int all_down = ceil_div(p.out_height, kStripRows), all_across = ceil_div(p.out_width, kStripColumns);
  for (StencilPlan* source : {&plan.x, &plan.dy}) {
    StencilTile& tile = source->tile;
    tile.images = images, tile.down = down, tile.across = across;
    tile.tiles_down = ceil_div(all_down, down), tile.tiles_across = ceil_div(all_across, across);
    set_source_pitches(*source, plan.lanes);
  }
  plan.strips = kStripRows * down * across;
}

// As much of an image as there is room for, or several small ones.
void cut_images(WeightPlan& plan) {
  const StencilProblem& p = plan.x.problem;
  int down = ceil_div(p.out_height, kStripRows), across = ceil_div(p.out_width, kStripColumns), images = 1;
  const bool addressable = p.groups * index_t(p.channels + p.filters) * p.height * p.width < INT32_MAX / kMostStrips;
  set_tile(plan, images, down, across);
  while (shared_bytes(plan) > kSharedBytes && down * across > 1) {
    (down > 1 ? down : across) = ceil_div(down > 1 ? down : across, 2);
    set_tile(plan, images, down, across);
  }
  const bool whole = plan.x.tile.tiles_down * plan.x.tile.tiles_across == 1 && addressable;
  while (whole && images < p.batch && (images + 1) * plan.strips <= std::min(kMostStrips, 16 * plan.lanes)) {
    set_tile(plan, images + 1, down, across);
    if (shared_bytes(plan) > kSharedBytes) break;
    ++images;
  }
  set_tile(plan, images, down, across);
}

WeightPlan weight_plan(const Conv2dShape& shape, index_t most_parts) {
  WeightPlan plan{.x = source_plan(shape, true), .dy = source_plan(shape, false)};
  const StencilProblem& p = plan.x.problem;
  const int filters = p.kernel == 3 ? kWeightFilters<3> : kWeightFilters<5>, all_groups = ceil_div(p.filters, filters);
  plan.filter_groups = ceil_div(all_groups, ceil_div(all_groups, kMostGroups));
  for (int most = kWeightThreads / plan.filter_groups;; most = (most + 1) / 2) {
    plan.channels = ceil_div(p.channels, ceil_div(p.channels, most));
    plan.group_lanes = plan.filter_groups % 8 == 0   ? 8
                       : plan.filter_groups % 4 == 0 ? 4
                       : plan.filter_groups % 2 == 0 ? 2
                                                     : 1;
    const int pairs = plan.filter_groups * plan.channels;
    plan.lanes = pairs * 32 <= kWeightThreads   ? 32
                 : pairs * 16 <= kWeightThreads ? 16
                 : pairs * 8 <= kWeightThreads  ? 8
                                                : 1;
    const int even_pairs = plan.filter_groups * rounded(plan.channels, 8 / plan.group_lanes);
    plan.x.block_threads = rounded(plan.lanes > 1 ? pairs * plan.lanes : even_pairs, 32);
    plan.dy.block_threads = plan.x.block_threads;
    cut_images(plan);
    if ((shared_bytes(plan) <= kSharedBytes && plan.x.block_threads <= kWeightThreads) || most == 1) break;
  }
  plan.channel_tiles = ceil_div(p.channels, plan.channels);
  plan.filter_tiles = ceil_div(p.filters, plan.filter_groups * filters);
  plan.image_blocks = ceil_div<index_t>(p.batch, plan.x.tile.images);
  plan.units = plan.image_blocks * plan.x.tile.tiles_down * plan.x.tile.tiles_across;
  const index_t tiles = index_t(plan.channel_tiles) * plan.filter_tiles * p.groups;
  const index_t wanted = std::min(std::max<index_t>(1, kWeightBlocks / tiles), std::max<index_t>(1, most_parts));
  plan.units_per_block = ceil_div(plan.units, wanted);
  return plan;
}

// Floats of a block's dw and db, whole lines.
index_t part_floats(const Conv2dShape& shape) {
  return ceil_div<index_t>(shape.weight_size() + shape.filters, 32) * 32;
}

template <class Gradient>
WeightParts backward_weight(const Conv2dShape& shape, const float* x, const Gradient& dy, float* dw, float* db,
                            Workspace workspace, cudaStream_t stream) {
  const index_t weights = shape.weight_size(), size = weights + (db == nullptr ? 0 : shape.filters);
  const index_t step = part_floats(shape);
  const WeightPlan plan = weight_plan(shape, workspace.data == nullptr ? 1 : workspace.floats / step);
  const index_t parts = plan.blocks(), tiles = index_t(plan.channel_tiles) * plan.filter_tiles;
  require(tiles <= kMaxGridYZ && shape.groups <= kMaxGridYZ, "conv2d_backward_weight: ", tiles, " tiles of weights x ",
          shape.groups, " groups are more than a grid has; split the filters");
  const WeightSink direct{dw, db, 0};
  const WeightSink partial{workspace.data, db == nullptr ? nullptr : workspace.data + weights, step};
  const simt::Launch launch{dim3(unsigned(parts), unsigned(tiles), unsigned(shape.groups)),
                            dim3(unsigned(plan.block_threads())), std::size_t(shared_bytes(plan)), stream};
  const auto kernel =
      shape.kernel_height == 3 ? conv2d_stencil_weight_kernel<3, Gradient> : conv2d_stencil_weight_kernel<5, Gradient>;
  simt::launch(kernel, launch, plan, PlaneSource{x}, dy, parts == 1 ? direct : partial);
  return {
      .partial = workspace.data, .dw = dw, .db = db, .weights = weights, .size = size, .parts = parts, .step = step};
}

}  // namespace

WeightParts conv2d_backward_weight_stencil(const Conv2dShape& shape, const float* x, const float* dy, float* dw,
                                           float* db, Workspace workspace, cudaStream_t stream) {
  return backward_weight(shape, x, PlaneSource{dy}, dw, db, workspace, stream);
}

WeightParts conv2d_pool_backward_weight_stencil(const Conv2dShape& shape, const float* x, const PooledGradient& dy,
                                                float* dw, float* db, Workspace workspace, cudaStream_t stream) {
  return backward_weight(shape, x, WindowSource{dy}, dw, db, workspace, stream);
}

index_t conv2d_backward_weight_stencil_workspace(const Conv2dShape& shape) {
  const index_t parts = weight_plan(shape, INT32_MAX).blocks();
  return parts == 1 ? 0 : parts * part_floats(shape);
}

}  // namespace espalier::kernels
