// How the weight gradient by stencil (conv2d_stencil_weight.cu) is cut into blocks, and who sums what in one.
#pragma once
#include "kernels/conv2d_stencil.h"

namespace espalier::kernels {

// The most threads of a block, and the filters of one, whose sums are 72 or 125.
constexpr int kWeightThreads = 256;
template <int kKernel>
constexpr int kWeightFilters = kKernel == 3 ? 8 : 5;

// How the gradient is cut: of x and dy the same part of the same images, as two plans of sources.
struct WeightPlan {
  StencilPlan x, dy;
  StencilItems dy_items = StencilItems::elements;
  int channels = 1, filter_groups = 1;  // of a block; a group is kWeightFilters filters, filter_groups apart
  int channel_tiles = 1, filter_tiles = 1;
  int lanes = 1;                           // that share the strips of one channel and filter group
  int group_lanes = 1;                     // of eight neighbours: so many filter groups, the rest channels,
  int set_shift = 3;                       // 1 << set_shift of them
  int strips = 0;                          // of 4 pixels, of an image's part
  int sum_pitch = 0, sum_gap = 0;          // floats of shared memory from a filter group's sums to the next, and more
                                           // from one set of channels of eight neighbours to the next
  index_t units = 1, units_per_block = 1;  // parts of images, image by image
  index_t image_blocks = 1;

  __host__ __device__ int block_threads() const { return x.block_threads; }
  // Where the sums of a channel lie in their group, in shared memory.
  __host__ __device__ int sum_offset(int channel, int taps) const {
    return channel * taps + (channel >> set_shift) * sum_gap;
  }
  __host__ __device__ int x_floats() const { return channels * x.tile.channel_pitch; }
  int dy_floats(int kernel) const { return filter_groups * (kernel == 3 ? 8 : 5) * dy.tile.channel_pitch; }
  index_t blocks() const { return (units + units_per_block - 1) / units_per_block; }
  index_t shared_bytes() const;
};

// A thread's channel and first filter group in the block.
struct WeightPair {
  int channel, group, lane;
  bool active;

  __host__ __device__ WeightPair(const WeightPlan& plan, int thread) {
    lane = thread % plan.lanes;
    const int pair = thread / plan.lanes, octet = pair / 8, in_octet = pair % 8;
    if (plan.lanes > 1) {
      group = pair % plan.filter_groups, channel = pair / plan.filter_groups;
    } else {  // eight neighbours read few channels and few filters, no two of them from one bank
      const int across = plan.filter_groups / plan.group_lanes;
      group = octet % across * plan.group_lanes + in_octet % plan.group_lanes;
      channel = (octet / across << plan.set_shift) + in_octet / plan.group_lanes;
    }
    active = channel < plan.channels;
  }
};

// dy's elements or the windows of a pool are what is listed of dy; at most so many blocks may share the images.
WeightPlan weight_plan(const Conv2dShape& shape, StencilItems dy_items, index_t most_parts);

}  // namespace espalier::kernels
