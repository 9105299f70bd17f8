// How the weight gradient by stencil is cut: pitches of shared memory without bank conflicts, as many images at a time
// as there is room for, blocks enough to fill a device.
#include "kernels/conv2d_stencil_weight.h"

#include <algorithm>
#include <numeric>

#include "kernels/grid.h"

namespace espalier::kernels {
namespace {

constexpr int kMostGroups = 10, kMostStrips = 256;
constexpr index_t kSharedBytes = 63 * 1024, kWeightBlocks = 128;

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
// banks, that is). An even number of strips in a row can be read by even rows first, then by odd ones, which leaves
// pairs as far apart, in banks, as they have floats: windows too are then stored without conflicts.
void set_source_pitches(StencilPlan& plan, StencilItems items, int lanes) {
  StencilTile& tile = plan.tile;
  const int kernel = plan.problem.kernel, strips = kStripColumns * tile.across;
  tile.row_pitch = kernel == 1 ? strips : strips + kStripPatch - kStripColumns;
  tile.pair_pitch = 2 * tile.row_pitch;
  if (lanes > 1) {  // see list_strips()
    const bool pairs = tile.across % 2 == 0;
    while (kernel > 1 && ((pairs ? 2 : 1) * tile.row_pitch - strips) % 32 != 0) tile.row_pitch += 4;
    tile.pair_pitch = 2 * tile.row_pitch;
    while (pairs && (tile.pair_pitch - strips) % 32 != 0) tile.pair_pitch += 4;
  }
  tile.image_pitch = (tile.down + kernel / 2) * tile.pair_pitch;
  tile.channel_pitch = tile.images * tile.image_pitch;
  if (lanes == 1) tile.channel_pitch += (36 - tile.channel_pitch % 32) % 32;
  // Lists that keep a warp busy, and after which the next run begins with a sector or seldom begins.
  for (int listed = 1; listed <= 8; listed *= 2) {
    set_lists(plan, items, listed);
    if (tile.items >= 32 && (tile.items % 8 == 0 || tile.items >= 256)) break;
  }
}

void set_tile(WeightPlan& plan, int images, int down, int across) {
  const StencilProblem& p = plan.x.problem;
  const int all_down = ceil_div(p.out_height, kStripRows), all_across = ceil_div(p.out_width, kStripColumns);
  for (StencilPlan* source : {&plan.x, &plan.dy}) {
    StencilTile& tile = source->tile;
    const StencilItems items = source == &plan.x ? StencilItems::elements : plan.dy_items;
    tile.images = images, tile.down = down, tile.across = across;
    tile.tiles_down = ceil_div(all_down, down), tile.tiles_across = ceil_div(all_across, across);
    set_source_pitches(*source, items, plan.lanes);
  }
  plan.strips = kStripRows * down * across;
}

// Wavefronts in which the block's warps store one sum of a thread.
int sum_wavefronts(const WeightPlan& plan) {
  const int taps = plan.x.problem.kernel * plan.x.problem.kernel;
  int wavefronts = 0;
  for (int first = 0; first < plan.block_threads(); first += 32) {
    int lanes[32] = {}, most = 0;
    for (int thread = first; thread < first + 32; ++thread) {
      const WeightPair at(plan, thread);
      const int to = at.group * plan.sum_pitch + plan.sum_offset(at.channel, taps);
      if (at.active && at.lane == 0) most = std::max(most, ++lanes[to % 32]);
    }
    wavefronts += most;
  }
  return wavefronts;
}

void set_sum_pitch(WeightPlan& plan) {
  const int taps = plan.x.problem.kernel * plan.x.problem.kernel;
  int fewest = INT32_MAX;
  for (int gap : {0, 4, 8}) {
    if (gap > 0 && taps << plan.set_shift <= 32) continue;  // see store_sums()
    WeightPlan with = plan;
    with.sum_gap = gap;
    const int run = with.sum_offset(plan.channels, taps);
    for (int pitch = run; pitch < run + 32; ++pitch) {
      with.sum_pitch = pitch;
      const int wavefronts = sum_wavefronts(with);
      if (wavefronts < fewest) fewest = wavefronts, plan.sum_pitch = pitch, plan.sum_gap = gap;
    }
  }
}

// As much of an image as there is room for, or several small ones.
void cut_images(WeightPlan& plan) {
  const StencilProblem& p = plan.x.problem;
  int down = ceil_div(p.out_height, kStripRows), across = ceil_div(p.out_width, kStripColumns), images = 1;
  const bool addressable = p.groups * index_t(p.channels + p.filters) * p.height * p.width < INT32_MAX / kMostStrips;
  set_tile(plan, images, down, across);
  while (plan.shared_bytes() > kSharedBytes && down * across > 1) {
    (down > 1 ? down : across) = ceil_div(down > 1 ? down : across, 2);
    set_tile(plan, images, down, across);
  }
  const int unit = 8 / std::gcd(8, across);  // pairs of rows after which eight neighbours meet no other rows
  if (plan.x.tile.tiles_down > 1 && down > unit) down -= down % unit, set_tile(plan, images, down, across);
  const bool whole = plan.x.tile.tiles_down * plan.x.tile.tiles_across == 1 && addressable;
  while (whole && images < p.batch && (images + 1) * plan.strips <= std::min(kMostStrips, 16 * plan.lanes)) {
    set_tile(plan, images + 1, down, across);
    if (plan.shared_bytes() > kSharedBytes) break;
    ++images;
  }
  set_tile(plan, images, down, across);
}

}  // namespace

index_t WeightPlan::shared_bytes() const {
  const int kernel = x.problem.kernel;
  const index_t buffers = 2 * index_t(x_floats() + dy_floats(kernel)), sums = index_t(filter_groups) * sum_pitch;
  return 4 * std::max(buffers, sums) + 8 * index_t(x.tile.items + dy.tile.items) + 8 * index_t(strips) * x.tile.images;
}

WeightPlan weight_plan(const Conv2dShape& shape, StencilItems dy_items, index_t most_parts) {
  WeightPlan plan{.x = source_plan(shape, true), .dy = source_plan(shape, false), .dy_items = dy_items};
  const StencilProblem& p = plan.x.problem;
  const int filters = p.kernel == 3 ? kWeightFilters<3> : kWeightFilters<5>, all_groups = ceil_div(p.filters, filters);
  plan.filter_groups = ceil_div(all_groups, ceil_div(all_groups, kMostGroups));
  for (int most = kWeightThreads / plan.filter_groups;; most = (most + 1) / 2) {
    plan.channels = ceil_div(p.channels, ceil_div(p.channels, most));
    plan.group_lanes = plan.filter_groups % 8 == 0   ? 8
                       : plan.filter_groups % 4 == 0 ? 4
                       : plan.filter_groups % 2 == 0 ? 2
                                                     : 1;
    plan.set_shift = plan.group_lanes == 8 ? 0 : plan.group_lanes == 4 ? 1 : plan.group_lanes == 2 ? 2 : 3;
    const int pairs = plan.filter_groups * plan.channels;
    plan.lanes = pairs * 32 <= kWeightThreads   ? 32
                 : pairs * 16 <= kWeightThreads ? 16
                 : pairs * 8 <= kWeightThreads  ? 8
                                                : 1;
    const int even_pairs = plan.filter_groups * rounded(plan.channels, 8 / plan.group_lanes);
    plan.x.block_threads = rounded(plan.lanes > 1 ? pairs * plan.lanes : even_pairs, 32);
    plan.dy.block_threads = plan.x.block_threads;
    set_sum_pitch(plan);
    cut_images(plan);
    if ((plan.shared_bytes() <= kSharedBytes && plan.x.block_threads <= kWeightThreads) || most == 1) break;
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

}  // namespace espalier::kernels
