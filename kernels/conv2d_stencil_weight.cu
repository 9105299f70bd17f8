// The weight gradient by stencil (conv2d_stencil.h). A block keeps a part of some images, x and dy, in shared memory; a
// thread sums all taps of one channel for kFilters filters in registers, a strip of 4 output pixels at a time: 288 to
// 500 multiply-adds from 14 or 15 128-bit reads, where an implicit GEMM, whose sums are few and whose k axis is the
// pixels, copies each input once per tap. Blocks share the images and leave parts to be added (conv2d_weight_parts.h).
// Costs flops(), and per block the gradient written and read once more. Of sm_80's main loop 89 % (3x3) and 93 % (5x5)
// are FFMA; where one channel's threads add the bias on the way, 81 % and 9 % FADD, 90 % and 4 %.
#include <algorithm>
#include <type_traits>

#include "kernels/conv2d_stencil_sources.h"
#include "kernels/conv2d_stencil_weight.h"
#include "kernels/grid.h"
#include "kernels/require.h"
#include "kernels/simt/vector_load.h"
#include "kernels/warp.h"

namespace espalier::kernels {
namespace {

// Where the sums of a block go: dw + block * step, a filter's row `row` floats long; db likewise, or null.
struct WeightSink {
  float *dw, *db;
  index_t step;
};

// sums += the products of a strip and, if wanted, bias += its gradients. dy: the thread's first filter at the strip,
// `filter_step` floats from one to the next; x: the first row of the patch in `tile`.
template <int kKernel, int kStride, bool kBias, int kFilters>
__device__ inline void multiply_strip(const StencilTile& tile, const float* x, const float* dy, int filter_step,
                                      float (&sums)[kFilters][kKernel * kKernel], float (&bias)[kFilters]) {
  float gradient[kFilters][4];
#pragma unroll
  for (int f = 0; f < kFilters; ++f) {
    const float4 four = *reinterpret_cast<const float4*>(dy + f * filter_step);
    gradient[f][0] = four.x, gradient[f][1] = four.y, gradient[f][2] = four.z, gradient[f][3] = four.w;
    if constexpr (kBias) bias[f] += (four.x + four.y) + (four.z + four.w);
  }
#pragma unroll
  for (int row = 0; row < kKernel; ++row) {
    float patch[kStride * kStripPatch];
#pragma unroll
    for (int half = 0; half < kStride; ++half) {
      // Of a stride of 1 rows are equally far apart.
      const float* from = x + (kStride == 1 ? row * tile.row_pitch : row_offset(tile, row, 1) + half * tile.half_pitch);
#pragma unroll
      for (int i = 0; i < half_columns(kKernel, kStride, half); i += 4) {
        const bool one_used = i + 1 == half_columns(kKernel, kStride, half);
        const float4 four = one_used ? simt::load_shared(from + i) : *reinterpret_cast<const float4*>(from + i);
        float* to = patch + kStride * i + half;
        to[0] = four.x, to[kStride] = four.y, to[2 * kStride] = four.z, to[3 * kStride] = four.w;
      }
    }
#pragma unroll
    for (int f = 0; f < kFilters; ++f) {
#pragma unroll
      for (int pixel = 0; pixel < 4; ++pixel) {
#pragma unroll
        for (int tap = 0; tap < kKernel; ++tap) {
          sums[f][row * kKernel + tap] += gradient[f][pixel] * patch[tap + kStride * pixel];
        }
      }
    }
  }
}

// The bias alone.
template <int kFilters>
__device__ inline void add_strip(const float* dy, int filter_step, float (&bias)[kFilters]) {
#pragma unroll
  for (int f = 0; f < kFilters; ++f) {
    const float4 four = *reinterpret_cast<const float4*>(dy + f * filter_step);
    bias[f] += (four.x + four.y) + (four.z + four.w);
  }
}

// Sums in shared memory, of several warps to be added: floats from a warp's to the next's. After each `set` of them,
// more than three sectors, the sums have a gap.
struct SharedSums {
  const float* sums;
  int warps, warp_pitch, set, gap;

  __device__ float operator[](int i) const {
    float sum = sums[i];
    for (int warp = 1; warp < warps; ++warp) sum += sums[i + warp * warp_pitch];
    return sum;
  }
};

// out[i] = sums[i], i in [0, count), by some warps, three whole sectors at a time: 32 lanes might meet in banks at
// gaps.
__device__ inline void store_sums(float* out, int count, int warp, int warps, SharedSums sums) {
  constexpr int kLanes = 24;
  const int lane = int(threadIdx.x) % 32, first = warp * kLanes - sector_offset(out), mine = lane < kLanes ? count : 0;
  int next = sums.gap == 0 ? INT32_MAX : sums.set;  // with gaps there is one warp
  for (int i = first + lane; i < count + lane; i += warps * kLanes) {
    if (i >= next) sums.sums += sums.gap, next += sums.set;
    if (unsigned(i) < unsigned(mine)) out[i] = sums[i];
  }
}

// Adds the sums of a warp's lanes that share their strips; the first then has all.
template <int kKernel, int kFilters>
__device__ inline void add_lanes(const WeightPlan& plan, float (&sums)[kFilters][kKernel * kKernel],
                                 float (&bias)[kFilters]) {
  if (plan.lanes == 1) return;
  const int mine = plan.lanes < plan.warp_lanes() ? plan.lanes : plan.warp_lanes(), end = 8 * mine / plan.near;
  for (int lanes = 1; lanes < end; lanes = lanes < plan.near / 2 || lanes >= 8 ? 2 * lanes : 8) {
#pragma unroll
    for (int f = 0; f < kFilters; ++f) {
#pragma unroll
      for (int tap = 0; tap < kKernel * kKernel; ++tap) {
        sums[f][tap] += __shfl_xor_sync(kFullWarp, sums[f][tap], lanes);
      }
      bias[f] += __shfl_xor_sync(kFullWarp, bias[f], lanes);
    }
  }
}

// A block's sums to memory, by way of shared memory [warps that share strips, filter groups, channels, taps]:
// neighbouring lanes write neighbouring floats. The bias lies behind, [shares of the strips, warps, filters].
template <int kKernel, int kFilters>
__device__ inline void store_weights(const WeightPlan& plan, const WeightPair& at, const WeightSink& to,
                                     float (&sums)[kFilters][kKernel * kKernel], float (&bias)[kFilters],
                                     float* shared) {
  constexpr int kTaps = kKernel * kKernel;
  const StencilProblem& p = plan.x.problem;
  const int all_filters = p.filters, row = p.channels * kTaps, block_filters = plan.filter_groups * kFilters;
  const int first_channel = int(blockIdx.y) % plan.channel_tiles * plan.channels;
  const int first_filter = int(blockIdx.y) / plan.channel_tiles * block_filters;
  const int left = p.channels - first_channel, channels = left < plan.channels ? left : plan.channels;
  add_lanes<kKernel, kFilters>(plan, sums, bias);
  const bool first_lane = at.active && at.lane % plan.warp_lanes() == 0;
  float* dw = to.dw + index_t(blockIdx.x) * to.step + index_t(blockIdx.z) * all_filters * row;
  // Filters follow each other in dw: where shared memory has no gaps and the block all channels, they are one run.
  const int pitch = plan.sum_pitch, warp = int(threadIdx.x) / 32, lane_warps = plan.lane_warps();
  const int warp_pitch = plan.filter_groups * pitch, lane_warp = at.lane / plan.warp_lanes();
  const bool together = pitch == row && plan.sum_gap == 0;
  const int runs = together ? 1 : plan.filter_groups, warps = plan.block_threads() / 32;
  float* biases = shared + lane_warps * warp_pitch;
#pragma unroll
  for (int f = 0; f < kFilters; ++f) {
    __syncthreads();
    if (first_lane) {
      float* sum = shared + lane_warp * warp_pitch + at.group * pitch + plan.sum_offset(at.channel, kTaps);
#pragma unroll
      for (int tap = 0; tap < kTaps; ++tap) sum[tap] = sums[f][tap];
      if (at.adds_bias) {
        biases[(at.bias_share * lane_warps + lane_warp) * block_filters + f * plan.filter_groups + at.group] = bias[f];
      }
    }
    __syncthreads();
    for (int group = together ? 0 : warp; group < runs; group += warps) {
      const int filter = first_filter + f * plan.filter_groups + group, filters_left = all_filters - filter;
      if (filters_left <= 0) break;
      const int filters = together ? (plan.filter_groups < filters_left ? plan.filter_groups : filters_left) : 1;
      store_sums(dw + index_t(filter) * row + first_channel * kTaps, filters * channels * kTaps, together ? warp : 0,
                 together ? warps : 1,
                 {shared + group * pitch, lane_warps, warp_pitch, kTaps << plan.set_shift, plan.sum_gap});
    }
  }
  if (to.db == nullptr || first_channel > 0) return;
  float* db = to.db + index_t(blockIdx.x) * to.step + index_t(blockIdx.z) * all_filters + first_filter;
  const SharedSums bias_sums{biases, plan.bias_shares() * lane_warps, block_filters, INT32_MAX, 0};
  for (int f = int(threadIdx.x); f < block_filters && first_filter + f < all_filters; f += plan.block_threads()) {
    db[f] = bias_sums[f];
  }
}

// A strip of the tile, in x and in dy.
struct alignas(8) WeightStrip {
  int x, dy;
};

__device__ inline void list_strips(const WeightPlan& plan, WeightStrip* strips) {
  const StencilTile &x = plan.x.tile, &dy = plan.dy.tile;
  for (int i = int(threadIdx.x); i < x.images * plan.strips; i += plan.block_threads()) {
    const int image = i / plan.strips, strip = i % plan.strips, line = strip / x.across, column = strip % x.across * 4;
    const int row = strip_row(line, plan.rows, plan.by_parity);
    strips[i] = {image * x.image_pitch + row_offset(x, plan.x.problem.stride * row) + column,
                 image * dy.image_pitch + row_offset(dy, row) + column};
  }
}

template <int kKernel, int kStride, class Gradient>
__global__ void __launch_bounds__(kWeightThreads, 1)
    conv2d_stencil_weight_kernel(WeightPlan plan, PlaneSource x, Gradient dy, WeightSink to) {
  constexpr int kFilters = filters_of_group(kKernel);
  const WeightPair at(plan, int(threadIdx.x));
  const StencilTile& tile = plan.x.tile;
  const int threads = plan.block_threads(), x_floats = plan.x_floats();
  const int step_floats = x_floats + plan.dy_floats();
  const int first_channel = int(blockIdx.y) % plan.channel_tiles * plan.channels;
  const int first_filter = int(blockIdx.y) / plan.channel_tiles * plan.filter_groups * kFilters;
  float* buffers = simt::dynamic_shared<float>();
  StencilItem* x_items = reinterpret_cast<StencilItem*>(buffers + 2 * step_floats);
  StencilItem* dy_items = x_items + plan.x.tile.items;
  WeightStrip* strips = reinterpret_cast<WeightStrip*>(dy_items + plan.dy.tile.items);
  list_strips(plan, strips);

  StencilList x_list{}, dy_list{};
  const StencilTeam x_team(tile.copy_threads, tile.copy_step, tile.half_warp_items);
  const StencilTeam dy_team(plan.dy.tile.copy_threads, plan.dy.tile.copy_step, plan.dy.tile.half_warp_items);
  const auto images_of = [&](index_t unit) {
    const index_t left = plan.x.problem.batch - unit % plan.image_blocks * tile.images;
    return int(left < tile.images ? left : tile.images);
  };
  const auto begin_part = [&](int part) {
    __syncthreads();
    for (int i = int(threadIdx.x); i < 2 * step_floats; i += threads) buffers[i] = 0.0f;  // borders
    const int row = part / tile.tiles_across * tile.down * kStripRows;
    const int column = part % tile.tiles_across * tile.across * kStripColumns;
    x_list = x.list(plan.x, row, column, x_items);
    dy_list = dy.list(plan.dy, row, column, dy_items);
    __syncthreads();
  };
  const auto load = [&](index_t unit, float* buffer) {
    const index_t image = unit % plan.image_blocks * tile.images;
    const int images = images_of(unit), channels = plan.x.problem.channels - first_channel;
    const int filters = plan.x.problem.filters - first_filter, block_filters = plan.filter_groups * kFilters;
    x.load(plan.x, image, first_channel, {images, channels < plan.channels ? channels : plan.channels}, x_team, x_list,
           buffer);
    dy.load(plan.dy, image, first_filter, {images, filters < block_filters ? filters : block_filters}, dy_team, dy_list,
            buffer + x_floats);
    simt::async_commit();
  };

  float sums[kFilters][kKernel * kKernel] = {}, bias[kFilters] = {};
  const bool biased = to.db != nullptr && first_channel == 0;
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
    const int filter_step = plan.filter_groups * plan.dy.tile.channel_pitch;
    const auto multiply = [&](auto with_bias) {
#pragma unroll 1
      for (int i = at.lane; i < count; i += plan.lanes) {
        const WeightStrip strip = strips[i];
        multiply_strip<kKernel, kStride, with_bias()>(tile, from + at.channel * tile.channel_pitch + strip.x,
                                                      gradient + strip.dy, filter_step, sums, bias);
      }
    };
    if (biased && plan.bias_shares() == 1) {
      multiply(std::true_type());
    } else {
      multiply(std::false_type());
      // Behind, where all channels' threads share it: those of one, adding on the way, would hold up all others.
#pragma unroll 1
      for (int i = at.bias_share * plan.lanes + at.lane; biased && i < count; i += plan.bias_shares() * plan.lanes) {
        add_strip(gradient + strips[i].dy, filter_step, bias);
      }
    }
  }
  store_weights<kKernel, kFilters>(plan, at, to, sums, bias, buffers);
}

// ---- the launchers

// Floats of a block's dw and db, whole lines.
index_t part_floats(const Conv2dShape& shape) {
  return ceil_div<index_t>(shape.weight_size() + shape.filters, 32) * 32;
}

template <class Gradient>
WeightParts backward_weight(const Conv2dShape& shape, StencilItems dy_items, const float* x, const Gradient& dy,
                            float* dw, float* db, Workspace workspace, cudaStream_t stream) {
  const index_t weights = shape.weight_size(), size = weights + (db == nullptr ? 0 : shape.filters);
  const index_t step = part_floats(shape);
  const WeightPlan plan = weight_plan(shape, dy_items, workspace.data == nullptr ? 1 : workspace.floats / step);
  const index_t parts = plan.blocks(), tiles = index_t(plan.channel_tiles) * plan.filter_tiles;
  require(tiles <= kMaxGridYZ && shape.groups <= kMaxGridYZ, "conv2d_backward_weight: ", tiles, " tiles of weights x ",
          shape.groups, " groups are more than a grid has; split the filters");
  const WeightSink direct{dw, db, 0};
  const WeightSink partial{workspace.data, db == nullptr ? nullptr : workspace.data + weights, step};
  const simt::Launch launch{dim3(unsigned(parts), unsigned(tiles), unsigned(shape.groups)),
                            dim3(unsigned(plan.block_threads())), std::size_t(plan.shared_bytes()), stream};
  auto kernel = shape.kernel_height == 3 ? conv2d_stencil_weight_kernel<3, 1, Gradient>
                                         : conv2d_stencil_weight_kernel<5, 1, Gradient>;
  if constexpr (std::is_same_v<Gradient, PlaneSource>) {
    if (shape.stride == 2) kernel = conv2d_stencil_weight_kernel<3, 2, Gradient>;
  }
  simt::launch(kernel, launch, plan, PlaneSource{x}, dy, parts == 1 ? direct : partial);
  return {
      .partial = workspace.data, .dw = dw, .db = db, .weights = weights, .size = size, .parts = parts, .step = step};
}

}  // namespace

WeightParts conv2d_backward_weight_stencil(const Conv2dShape& shape, const float* x, const float* dy, float* dw,
                                           float* db, Workspace workspace, cudaStream_t stream) {
  return backward_weight(shape, StencilItems::elements, x, PlaneSource{dy}, dw, db, workspace, stream);
}

WeightParts conv2d_pool_backward_weight_stencil(const Conv2dShape& shape, const float* x, const PooledGradient& dy,
                                                float* dw, float* db, Workspace workspace, cudaStream_t stream) {
  return backward_weight(shape, StencilItems::windows, x, WindowSource{dy}, dw, db, workspace, stream);
}

index_t conv2d_backward_weight_stencil_workspace(const Conv2dShape& shape) {
  index_t parts = 1;  // the same for both, save where a list decides how many images there is room for
  for (StencilItems items : {StencilItems::elements, StencilItems::windows}) {
    if (shape.stride > 1 && items == StencilItems::windows) continue;
    parts = std::max(parts, weight_plan(shape, items, INT32_MAX).blocks());
  }
  return parts == 1 ? 0 : parts * part_floats(shape);
}

}  // namespace espalier::kernels
