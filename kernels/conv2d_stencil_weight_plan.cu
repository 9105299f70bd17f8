// How the weight gradient by stencil is cut: whole planes if there is room for few channels and filters of them, else
// whole rows, since long runs waste fewer sectors; pitches of shared memory without bank conflicts; of all such cuts
// the one of the fewest instruction slots.
#include <algorithm>
#include <bit>
#include <numeric>
#include <vector>

#include "kernels/conv2d_stencil_weight.h"
#include "kernels/grid.h"

namespace espalier::kernels {
namespace {

constexpr int kMostGroups = 10;
constexpr index_t kSharedBytes = 64 * 1024, kProcessors = 128;
// Of a stride of 2 blocks come in several rounds: on A100's 108 multiprocessors one block each would take two.
constexpr index_t kStridedRounds = 4;
// What a cut may cost more that wastes fewer sectors: this times the part of them that it saves.
constexpr double kWastedSectors = 1.5;
// Threads that share the strips of a channel and filter group.
constexpr int kLanes[] = {4, 8, 16, 32, 64, 96, 128, 160, 192, 224, 256};

int rounded(int value, int unit) { return ceil_div(value, unit) * unit; }

// visit(length) for each length of pieces, as even as can be, that `count` may be cut into: from at most `most` to 1.
template <class Visit>
void for_each_cut(int count, int most, const Visit& visit) {
  for (; most > 0; --most) {
    most = ceil_div(count, ceil_div(count, most));
    visit(most);
  }
}

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
                  .stride = of_x ? int(s.stride) : 1,
                  .batch = s.batch};
  return plan;
}

// ---- pitches

// Whether lanes that are served together, so many neighbours, read strips from different ones of so many banks of four
// floats.
bool without_conflicts(const WeightPlan& plan, const StencilPlan& source, int neighbours, int banks) {
  const StencilTile& tile = source.tile;
  for (int first = 0; first < plan.strips; first += neighbours) {
    unsigned taken = 0;
    for (int i = first; i < std::min(first + neighbours, plan.strips); ++i) {
      const int row = strip_row(i / tile.across, plan.rows, plan.by_parity);
      const int at = row_offset(tile, source.problem.stride * row) + i % tile.across * kStripColumns;
      const unsigned bank = 1u << at / 4 % banks;
      if ((taken & bank) != 0) return false;
      taken |= bank;
    }
  }
  return true;
}

// The shortest pitches for lanes that share strips. Of x, whose patches begin in every row, rows are equally far apart.
// Of windows, of which a row has `pair_floats`, pairs of rows may lie in banks where the last one ends or little
// further: more neighbouring lanes then store them without conflicts.
bool set_row_pitches(const WeightPlan& plan, StencilPlan& source, int pair_floats) {
  StencilTile& tile = source.tile;
  const bool of_x = &source == &plan.x;
  // What a patch of the last strip reads beyond the last pixel only ever meets gradients that are zero.
  const int columns = std::min(kStripColumns * tile.across, source.problem.out_width) + source.problem.kernel - 1;
  const int row = rounded(columns, 4), banks = of_x ? 8 : plan.near;
  for (int gap = 0; gap < 64; gap += 4) {
    for (int row_gap = of_x ? rounded(gap, 8) / 2 : 0; 2 * row_gap <= gap && row_gap < 32; row_gap += 4) {
      tile.row_pitch = row + row_gap, tile.pair_pitch = 2 * row + gap;
      const int beyond = (tile.pair_pitch + 64 - pair_floats) % 32;
      if (pair_floats > 0 && beyond >= (pair_floats % 4 == 0 ? 1 : kStripPatch)) continue;
      if (plan.lanes == 1 || without_conflicts(plan, source, plan.near, banks)) return true;
    }
  }
  return false;
}

// Of an x that strips cross in steps of 2: halves of rows, of which each second one is an output's first.
bool set_half_row_pitches(const WeightPlan& plan, StencilPlan& source) {
  StencilTile& tile = source.tile;
  const int columns = std::min(kStripColumns * tile.across, source.problem.out_width) + source.problem.kernel / 2;
  tile.row_pitch = rounded(columns, 4);
  for (int gap = 0; gap < 32; gap += 4) {
    tile.pair_pitch = 2 * tile.row_pitch + gap;
    if (plan.lanes == 1 || without_conflicts(plan, source, plan.near, 8)) return true;
  }
  return false;
}

bool set_row_pitches(WeightPlan& plan, bool spaced) {
  const int windows = plan.dy_items == StencilItems::windows ? plan.dy.problem.width / 2 : 0;
  const int pair_floats = spaced ? std::min(kStripColumns * plan.x.tile.across, 2 * windows) : 0;
  for (const bool by_parity : {false, true}) {
    plan.by_parity = by_parity;
    const bool fits =
        plan.x.problem.stride == 1 ? set_row_pitches(plan, plan.x, 0) : set_half_row_pitches(plan, plan.x);
    if (fits && set_row_pitches(plan, plan.dy, pair_floats)) return true;
  }
  return false;
}

// Planes of eight neighbours: of eight channels or groups in eight banks (of four floats), of two groups in two halves.
void set_plane_pitches(WeightPlan& plan, int images) {
  for (StencilPlan* source : {&plan.x, &plan.dy}) {
    StencilTile& tile = source->tile;
    tile.images = images;
    tile.image_pitch = row_offset(tile, source->problem.stride * (plan.rows - 1) + source->problem.kernel);
    if (source->problem.stride == 2) {  // halves in different halves of the banks; what is read behind the last row
      tile.half_pitch = rounded(tile.image_pitch + kStripPatch - 16, 32) + 16;
      tile.image_pitch += tile.half_pitch + kStripPatch;
    }
    tile.channel_pitch = images * tile.image_pitch;
    if (plan.lanes == 1) tile.channel_pitch += (12 - tile.channel_pitch % 8) % 8;
    if (plan.lanes > 1 && plan.near < 8 && source == &plan.dy) {
      tile.channel_pitch += (32 + kStripColumns * plan.near - tile.channel_pitch % 32) % 32;
    }
  }
}

// A thread that stores sums, and its warp.
struct SumStore {
  int warp, channel, group;
};

std::vector<SumStore> sum_stores(const WeightPlan& plan) {
  std::vector<SumStore> stores;
  for (int thread = 0; thread < plan.block_threads(); ++thread) {
    const WeightPair at(plan, thread);
    if (at.active && at.lane % plan.warp_lanes() == 0) stores.push_back({thread / 32, at.channel, at.group});
  }
  return stores;
}

// Wavefronts in which the block's warps store one sum of a thread.
int sum_wavefronts(const WeightPlan& plan, const std::vector<SumStore>& stores) {
  const int taps = plan.x.problem.kernel * plan.x.problem.kernel;
  int lanes[kWeightThreads / 32][32] = {}, most[kWeightThreads / 32] = {};
  for (const SumStore& at : stores) {
    const int to = at.group * plan.sum_pitch + plan.sum_offset(at.channel, taps);
    most[at.warp] = std::max(most[at.warp], ++lanes[at.warp][to % 32]);
  }
  return std::accumulate(std::begin(most), std::end(most), 0);
}

void set_sum_pitch(WeightPlan& plan) {
  const int taps = plan.x.problem.kernel * plan.x.problem.kernel;
  const std::vector<SumStore> stores = sum_stores(plan);
  int fewest = INT32_MAX;
  for (int gap : {0, 4, 8}) {
    if (gap > 0 && taps << plan.set_shift <= 32) continue;  // see store_sums()
    WeightPlan with = plan;
    with.sum_gap = gap;
    const int run = with.sum_offset(plan.channels, taps);
    for (int pitch = run; pitch < run + 32; ++pitch) {
      with.sum_pitch = pitch;
      const int wavefronts = sum_wavefronts(with, stores);
      if (wavefronts < fewest) fewest = wavefronts, plan.sum_pitch = pitch, plan.sum_gap = gap;
    }
  }
}

// ---- the cut

// As many pairs of rows and strips of an image as a tile has.
void set_tile(WeightPlan& plan, int down, int across) {
  const StencilProblem& p = plan.x.problem;
  for (StencilTile* tile : {&plan.x.tile, &plan.dy.tile}) {
    tile->down = down, tile->tiles_down = ceil_div(ceil_div(p.out_height, kStripRows), down);
    tile->across = across, tile->tiles_across = ceil_div(ceil_div(p.out_width, kStripColumns), across);
  }
  plan.rows = std::min(kStripRows * down, p.out_height);
  plan.strips = plan.rows * across;
}

void set_lists(WeightPlan& plan, int most_x_listed, int most_dy_listed) {
  for (StencilPlan* source : {&plan.x, &plan.dy}) {
    const StencilItems items = source == &plan.x ? StencilItems::elements : plan.dy_items;
    const int most = source == &plan.x ? most_x_listed : most_dy_listed;
    // Lists that keep a warp busy, and after which the next run begins with a sector or seldom begins.
    for (int listed = 1; listed <= most; listed *= 2) {
      set_lists(*source, items, listed);
      if (source->tile.items >= 32 && (source->tile.items % 8 == 0 || source->tile.items >= 256)) break;
    }
  }
}

void set_threads(WeightPlan& plan) {
  plan.group_lanes = std::gcd(plan.filter_groups, 8);
  plan.set_shift = plan.group_lanes == 8 ? 0 : plan.group_lanes == 4 ? 1 : plan.group_lanes == 2 ? 2 : 3;
  const int pairs = plan.filter_groups * plan.channels;
  const int even_pairs = plan.filter_groups * rounded(plan.channels, 8 / plan.group_lanes);
  plan.x.block_threads = rounded(plan.lanes > 1 ? pairs * plan.lanes : even_pairs, 32);
  plan.dy.block_threads = plan.x.block_threads;
}

// Blocks share the images as far as there are multiprocessors for them.
void set_blocks(WeightPlan& plan, index_t most_parts) {
  const StencilProblem& p = plan.x.problem;
  const int filters = plan.filter_groups * filters_of_group(p.kernel);
  plan.channel_tiles = ceil_div(p.channels, plan.channels);
  plan.filter_tiles = ceil_div(p.filters, filters);
  plan.image_blocks = ceil_div<index_t>(p.batch, plan.x.tile.images);
  plan.units = plan.image_blocks * plan.x.tile.tiles_down * plan.x.tile.tiles_across;
  const index_t tiles = index_t(plan.channel_tiles) * plan.filter_tiles * p.groups;
  const index_t blocks = kProcessors * (p.stride == 1 ? 1 : kStridedRounds);
  const index_t wanted = std::min(std::max<index_t>(1, blocks / tiles), std::max<index_t>(1, most_parts));
  plan.units_per_block = ceil_div(plan.units, wanted);
}

// What a unit copies of a source: floats (of windows: dy's), those that fill up the sectors of their runs, and the
// instruction slots of it.
struct Copies {
  double floats = 0, wasted = 0, slots = 0;

  Copies(const StencilPlan& source, StencilItems items, int planes, bool spaced) {
    const StencilTile& tile = source.tile;
    const StencilProblem& p = source.problem;
    const int unit = items == StencilItems::windows ? 2 : 1, width = p.width / unit, plane = p.height / unit * width;
    const int lists = ceil_div(planes, tile.listed) * tile.images, channel = tile.items / tile.listed;
    const bool whole = channel == plane;
    const int run = whole ? tile.items : channel, runs = whole ? lists : planes * tile.images;
    const int parts = whole ? 0 : std::gcd(plane, (p.stride * kStripRows * tile.down - p.padding) / unit * width);
    floats = double(run) * runs, wasted = double(runs) * (8 - std::gcd(std::gcd(run, parts), 8));
    slots = lists * ((unit == 1 ? 16.0 : spaced ? 60.0 : 90.0) * (tile.items + 8) / 32 + 40);
  }
};

// Instruction slots of a scheduler of the busiest multiprocessor, roughly, as of the forward pass: of the units, each
// of so many a warp, and of the end.
double block_slots(const WeightPlan& plan, double unit, double end) {
  const index_t tiles = index_t(plan.channel_tiles) * plan.filter_tiles * plan.x.problem.groups;
  const index_t blocks = ceil_div(plan.blocks() * tiles, kProcessors);
  return double(blocks) * (ceil_div(plan.block_threads() / 32, 4) + 0.8) * (double(plan.units_per_block) * unit + end);
}

double unit_products(const WeightPlan& plan) {
  const int kernel = plan.x.problem.kernel, filters = filters_of_group(kernel);
  const int reads = plan.x.problem.stride == 1 ? 2 : 3;  // of a row
  const double strip = 4.0 * filters * kernel * kernel + 2.0 * (filters + reads * kernel) + 12;
  return ceil_div(plan.strips * plan.x.tile.images, plan.lanes) * strip + 100;
}

double cost(const WeightPlan& plan, bool spaced) {
  const int kernel = plan.x.problem.kernel, taps = kernel * kernel, filters = filters_of_group(kernel);
  const Copies x(plan.x, StencilItems::elements, plan.channels, true);
  const Copies dy(plan.dy, plan.dy_items, plan.filter_groups * filters, spaced);
  const double unit = unit_products(plan) + (x.slots + dy.slots) * 32 / plan.block_threads();
  const double wasted = (x.wasted + dy.wasted) / (x.floats + dy.floats);
  const int mine = std::min(plan.lanes, plan.warp_lanes());
  const double reduced = plan.lanes > 1 ? 2.0 * (std::bit_width(unsigned(mine)) - 1) : 0.0;
  const double stored = double(plan.channels) * plan.filter_groups * filters * taps / plan.block_threads();
  const double end = filters * (taps * (2.0 + reduced) + 60) + 12 * stored + 1500;
  return block_slots(plan, unit, end) * (1 + kWastedSectors * std::max(0.0, wasted - 0.03));
}

struct Search {
  static constexpr double kNone = 1e300;

  WeightPlan best;
  double least = kNone;
  index_t most_parts;

  // `plan`, whose tile, lanes and rows' pitches are set, for channels and groups that make as many threads as can be.
  void try_channels(WeightPlan plan, bool spaced) {
    const StencilProblem& p = plan.x.problem;
    const int all_groups = ceil_div(p.filters, filters_of_group(p.kernel));
    for_each_cut(all_groups, kMostGroups, [&](int groups) {
      if (plan.lanes > 1 && groups % (8 / plan.near) != 0) return;
      plan.filter_groups = groups;
      for_each_cut(p.channels, p.channels, [&](int channels) {
        plan.channels = channels;
        const int threads = groups * (plan.lanes > 1 ? channels : rounded(channels, 8)) * plan.lanes;
        const bool few = threads < kFewThreads && least < kNone;  // to spare the time
        if (threads <= kWeightThreads && !few) try_images(plan, spaced);
      });
    });
  }

 private:
  static constexpr int kMostStrips = 256, kFewThreads = 96;

  void try_images(WeightPlan& plan, bool spaced) {
    const StencilProblem& p = plan.x.problem;
    const bool addressable = p.groups * index_t(p.channels + p.filters) * p.height * p.width < INT32_MAX / kMostStrips;
    const bool whole = plan.x.tile.tiles_down * plan.x.tile.tiles_across == 1 && addressable;
    set_threads(plan);
    for (int images = 1; images == 1 || (whole && images <= p.batch && images * plan.strips <= kMostStrips); ++images) {
      set_plane_pitches(plan, images);
      if (8 * (plan.x_floats() + plan.dy_floats()) > kSharedBytes) return;
      set_blocks(plan, most_parts);
      if (block_slots(plan, unit_products(plan), 0) >= least) continue;
      set_lists(plan, 8, 8);
      for (int listed = 8; listed > 0 && plan.shared_bytes() > kSharedBytes; listed /= 2) set_lists(plan, 1, listed);
      if (plan.shared_bytes() > kSharedBytes) return;
      const double slots = cost(plan, spaced);
      if (slots < least) least = slots, best = plan;
    }
  }
};

}  // namespace

index_t WeightPlan::shared_bytes() const {
  const int kernel = x.problem.kernel, taps = kernel * kernel;
  const index_t buffers = 2 * index_t(x_floats() + dy_floats());
  const int biases = bias_shares() * filters_of_group(kernel);
  const index_t sums =
      index_t(lane_warps()) * filter_groups * (std::max(sum_pitch, channels * (taps + 4) + 32) + biases);
  return 4 * std::max(buffers, sums) + 8 * index_t(x.tile.items + dy.tile.items) + 8 * index_t(strips) * x.tile.images;
}

WeightPlan weight_plan(const Conv2dShape& shape, StencilItems dy_items, index_t most_parts) {
  WeightPlan plan{.x = source_plan(shape, true), .dy = source_plan(shape, false), .dy_items = dy_items};
  const StencilProblem& p = plan.x.problem;
  Search search{.best = {}, .most_parts = most_parts};
  const int all_down = ceil_div(p.out_height, kStripRows), all_across = ceil_div(p.out_width, kStripColumns);
  for (int across = all_across; search.least == Search::kNone; across = ceil_div(across, 2)) {
    for_each_cut(all_down, all_down, [&](int down) {
      set_tile(plan, down, across);
      for (const bool spaced : {true, false}) {
        plan.lanes = plan.near = 1;
        if (set_row_pitches(plan, spaced)) search.try_channels(plan, spaced);
        for (const int near : {2, 4, 8}) {
          plan.near = near, plan.lanes = 2 * near;
          if (!set_row_pitches(plan, spaced)) continue;
          for (const int lanes : kLanes) {
            plan.lanes = lanes;
            if (lanes == near || lanes == 2 * near || lanes % (4 * near) == 0) search.try_channels(plan, spaced);
          }
        }
        if (dy_items == StencilItems::elements) break;
      }
    });
  }
  plan = search.best;
  set_sum_pitch(plan);
  set_copy_lanes(plan.x, StencilItems::elements), set_copy_lanes(plan.dy, dy_items);
  set_copy_teams(plan.x, StencilItems::elements, plan.channels);
  set_copy_teams(plan.dy, dy_items, plan.filter_groups * filters_of_group(p.kernel));
  return plan;
}

}  // namespace espalier::kernels
