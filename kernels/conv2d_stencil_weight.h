// How the weight gradient by stencil (conv2d_stencil_weight.cu) is cut into blocks, and who sums what in one.
#pragma once
#include "kernels/conv2d_stencil.h"

namespace espalier::kernels {

// The most threads of a block, and the filters of one, whose sums are 72 or 125.
constexpr int kWeightThreads = 256;
__host__ __device__ constexpr int filters_of_group(int kernel) { return kernel == 3 ? 8 : 5; }

// How the gradient is cut: of x and dy the same part of the same images, as two plans of sources.
struct WeightPlan {
  StencilPlan x, dy;
  StencilItems dy_items = StencilItems::elements;
  int channels = 1, filter_groups = 1;  // of a block; a group is filters_of_group() filters, filter_groups apart
  int channel_tiles = 1, filter_tiles = 1;
  int lanes = 1;                           // that share the strips of one channel and filter group
  int near = 1;                            // so many of eight neighbours; the rest are of the next filter groups
  bool by_parity = false;                  // lanes take the strips of even rows first
  int group_lanes = 1;                     // of eight neighbours: so many filter groups, the rest channels,
  int set_shift = 3;                       // 1 << set_shift of them
  int rows = 0, strips = 0;                // of an image's part; strips are of 4 pixels
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
  __host__ __device__ int dy_floats() const {
    return filter_groups * filters_of_group(x.problem.kernel) * dy.tile.channel_pitch;
  }
  // Of them in a warp, at most, and warps that they are in.
  __host__ __device__ int warp_lanes() const { return 4 * near; }
  __host__ __device__ int lane_warps() const { return lanes > warp_lanes() ? lanes / warp_lanes() : 1; }
  // The channels' threads share the sum of the bias, too: those that read the same strips have the same share.
  __host__ __device__ int share_shift() const { return lanes > 1 ? 0 : set_shift; }
  __host__ __device__ int bias_shares() const { return ((channels - 1) >> share_shift()) + 1; }
  index_t blocks() const { return (units + units_per_block - 1) / units_per_block; }
  index_t shared_bytes() const;
};

// The row in its tile, of so many, of the strips of a line of the list.
__host__ __device__ inline int strip_row(int line, int rows, bool by_parity) {
  const int even = (rows + 1) / 2;
  return !by_parity ? line : line < even ? 2 * line : 2 * (line - even) + 1;
}

// A thread's channel and first filter group in the block.
struct WeightPair {
  int channel, group, lane;
  int bias_share;
  bool active, adds_bias;  // of those with the same share one adds

  __host__ __device__ WeightPair(const WeightPlan& plan, int thread) {
    const int octet = thread / 8, in_octet = thread % 8;
    if (plan.lanes > 1) {
      const int octets = plan.lanes / plan.near, pair = octet / octets * (8 / plan.near) + in_octet / plan.near;
      lane = octet % octets * plan.near + in_octet % plan.near;
      group = pair % plan.filter_groups, channel = pair / plan.filter_groups;
    } else {  // eight neighbours read few channels and few filters, no two of them from one bank
      lane = 0;
      const int across = plan.filter_groups / plan.group_lanes;
      group = octet % across * plan.group_lanes + in_octet % plan.group_lanes;
      channel = (octet / across << plan.set_shift) + in_octet / plan.group_lanes;
    }
    active = channel < plan.channels;
    bias_share = channel >> plan.share_shift();
    adds_bias = channel == bias_share << plan.share_shift();
  }
};

// dy's elements or the windows of a pool are what is listed of dy; at most so many blocks may share the images.
WeightPlan weight_plan(const Conv2dShape& shape, StencilItems dy_items, index_t most_parts);

}  // namespace espalier::kernels
