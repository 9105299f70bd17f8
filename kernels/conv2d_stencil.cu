// How a stencil is cut into blocks: pitches of shared memory without bank conflicts, blocks enough to fill a device.
#include "kernels/conv2d_stencil.h"

#include <algorithm>
#include <numeric>

#include "kernels/grid.h"
#include "kernels/require.h"

namespace espalier::kernels {
namespace {

// What every device grants a block (compute capability 7.5 has the least).
constexpr index_t kSharedBytes = 63 * 1024;
// The device that teams are chosen for: multiprocessors of four schedulers. A constant, so that every device sums in
// the same order; and blocks for which resident weights are loaded at most.
constexpr index_t kProcessors = 128, kSchedulers = 4, kBlocksAtOnce = 4 * kProcessors;
constexpr int kMostGroups = 10;

int rounded(int value, int unit) { return ceil_div(value, unit) * unit; }

// Lanes that wait because two of the eight that are served together read different words of one bank.
int conflicts(const StencilTile& tile) {
  int lost = 0;
  for (int first = 0; first < tile.positions(); first += 8) {
    bool taken[8] = {};
    for (int i = first; i < std::min(first + 8, tile.positions()); ++i) {
      const int image = i / (tile.down * tile.across), strip = i % (tile.down * tile.across);
      const int at = image * tile.image_pitch + strip / tile.across * tile.pair_pitch + strip % tile.across * 4;
      bool& bank = taken[at / 4 % 8];
      lost += bank ? 1 : 0;
      bank = true;
    }
  }
  return lost;
}

// Sets half and image pitches for rows and pairs of rows as they are, with a gap after each image. Of a stride of 2
// neighbouring floats of a row go to its halves in turn, which lie in different halves of the banks. Reads of a row's
// last strip may run into the next one.
void set_image_pitch(const StencilProblem& problem, int gap, StencilTile& tile) {
  const int rows = problem.source_rows(tile.down), pair = kStripRows * problem.stride;
  const int image = rows / pair * tile.pair_pitch + rows % pair * tile.row_pitch;
  tile.image_pitch = image + gap;
  if (problem.stride == 1) return;
  tile.half_pitch = rounded(image + kStripPatch - 16, 32) + 16;
  tile.image_pitch = tile.half_pitch + image + kStripPatch + gap;
}

void set_pitches(const StencilProblem& problem, StencilTile& tile) {
  const int strips = kStripColumns * tile.across, used = std::min(strips, problem.out_width) + problem.kernel / 2;
  tile.row_pitch = problem.stride == 1 ? strips + kStripPatch - kStripColumns : rounded(used, kStripColumns);
  tile.pairs = problem.stride;
  int fewest = INT32_MAX;
  for (int pair_gap = 0; pair_gap < 32; pair_gap += 4) {
    for (int image_gap = 0; image_gap < (tile.images > 1 ? 32 : 4); image_gap += 4) {
      StencilTile with = tile;
      with.pair_pitch = kStripRows * problem.stride * tile.row_pitch + pair_gap;
      set_image_pitch(problem, image_gap, with);
      const int lost = conflicts(with);
      if (lost >= fewest) continue;
      fewest = lost;
      tile = with;
      if (lost == 0) pair_gap = image_gap = 32;
    }
  }
  tile.channel_pitch = tile.images * tile.image_pitch;
}

// Eight lanes of two filter groups or teams would read strips from the same banks: if there is room, a few lanes idle,
// but not more than one of seven.
void set_threads(StencilPlan& plan) {
  StencilTile& tile = plan.tile;
  const int whole = rounded(tile.positions(), 8), groups = tile.filter_groups * tile.teams;
  const bool pays = 7 * (whole - tile.positions()) <= whole && whole * groups <= kStencilThreads;
  tile.group_threads = pays ? whole : tile.positions();
  plan.block_threads = rounded(tile.group_threads * groups, 32);
}

// Cuts the strips of an image, of which `most` fit into a block. A pool's tiles hold whole rows of windows and end with
// whole bytes of the route; false where that is impossible.
bool cut_strips(const StencilProblem& problem, StencilUse use, int most, StencilTile& tile) {
  const int down = ceil_div(problem.out_height, kStripRows), across = ceil_div(problem.out_width, kStripColumns);
  tile.across = ceil_div(across, ceil_div(across, most));
  tile.down = std::min(down, std::max(1, most / tile.across));
  tile.down = ceil_div(down, ceil_div(down, tile.down));
  if (use == StencilUse::pool && tile.down < down) {
    const int unit = 4 / std::gcd(4, problem.out_width / 2);
    tile.down = std::max(1, tile.down / unit) * unit;
  }
  tile.tiles_down = ceil_div(down, tile.down), tile.tiles_across = ceil_div(across, tile.across);
  return tile.down * tile.across <= most && (use != StencilUse::pool || tile.tiles_across == 1);
}

// The blocks of one image position for all images: as many as there are, but where the weights stay in shared memory so
// few that each loads them for several images.
index_t image_blocks(const StencilPlan& plan, index_t blocks_an_image) {
  const index_t parts = ceil_div<index_t>(plan.problem.batch, plan.tile.images);
  if (plan.steps() > 1) return parts;
  const index_t wanted = std::max<index_t>(1, kBlocksAtOnce / blocks_an_image);
  return ceil_div(parts, ceil_div(parts, wanted));
}

index_t blocks_an_image(const StencilPlan& plan) {
  const StencilTile& tile = plan.tile;
  const int filter_tiles = ceil_div(plan.problem.filters, tile.filter_groups * plan.filters_per_thread);
  return index_t(tile.tiles_down) * tile.tiles_across * filter_tiles * plan.problem.groups;
}

// Instruction slots of a scheduler, roughly: what its warps multiply, copy and store, and a little more where a
// scheduler has few warps to choose from.
double cost(const StencilPlan& plan, index_t processors) {
  const StencilProblem& p = plan.problem;
  const StencilTile& tile = plan.tile;
  const int taps = weight_width(p.kernel) * weight_width(p.kernel), filters = plan.filters_per_thread;
  const bool split = tile.group_threads % 8 != 0 && tile.filter_groups * tile.teams > 1;  // see set_threads()
  const double products = (split ? 8.8 : 8.0) * filters * taps,
               reads = filters * ceil_div(taps, 4) + (p.stride == 1 ? 2.0 : 3.0) * (p.kernel + p.stride);
  const double copied = tile.images * double(p.source_rows(tile.down)) * p.source_columns(tile.across) +
                        double(tile.filter_groups) * filters * taps;
  const double warp = p.channels * ((products + 2 * reads) / tile.teams + 10 * copied / plan.block_threads) + 300 +
                      (50 + 16 * (tile.teams - 1)) * plan.sum_planes();
  const index_t loops = ceil_div(ceil_div<index_t>(p.batch, tile.images), tile.image_blocks);
  const index_t blocks = ceil_div(tile.image_blocks * blocks_an_image(plan), processors);
  const double warps = double(ceil_div(blocks * plan.block_threads / 32, kSchedulers));
  // Of a stride of 2 a multiprocessor's registers suffice for ten warps: fewer than eight would wait for each other.
  const int block_warps = plan.block_threads / 32, resident = p.stride == 1 ? 8 : 10 / block_warps * block_warps;
  return (warps + 0.4) * warp * double(loops) * 8 / std::min(8, resident);
}

// Floats of the scratch before the lower rows of strips, where these leave by rows: each run is even and for half a
// warp, which is busy with no less than half of it. Both rows of a width of 4 n + 2 begin at the same bank, of 4 n the
// lower one where the upper ends.
int lower_rows(const StencilPlan& plan) {
  const StencilTile& tile = plan.tile;
  const int width = plan.problem.out_width, run = kStripRows * width;
  const bool fits = leaves_by_rows(plan.filters_per_thread) && tile.tiles_across == 1 && tile.images == 1 &&
                    run <= 64 && run >= 32 && plan.block_threads >= 32 * tile.filter_groups;
  if (!fits || width % 8 == 0 || width % 2 != 0 || plan.problem.out_height % 2 != 0) return 0;
  const int strips = tile.filter_groups * filters_by_rows(plan.filters_per_thread) * tile.down * tile.across;
  return rounded(strips * kStripColumns, 32) + (width % 4 == 0 ? width % 32 : 0);
}

// Sets what the sink wants of shared memory: the route of a pool; the strips of a filter where a plane's rows are no
// whole sectors, for which the last step's weights make room if they can. With few channels there is little to
// multiply, and staging filter by filter would cost more than it saves. Cells are always staged: a lane has every
// eighth float of a row.
void set_scratch(StencilPlan& plan, StencilUse use) {
  StencilTile& tile = plan.tile;
  if (plan.problem.kernel == kCellKernel) {
    tile.scratch_bytes = int(sizeof(float)) * rounded(tile.filter_groups * tile.cell_group_pitch(), 4);
    return;
  }
  const int strips = int(sizeof(float)) * kStripRows * kStripColumns * tile.team_threads();
  const bool biased = use == StencilUse::forward || use == StencilUse::pool;
  tile.bias_floats = biased ? rounded(tile.filter_groups * plan.filters_per_thread, 4) : 0;
  if (use == StencilUse::pool) {
    tile.staged = plan.problem.out_width / 2 % 2 != 0;
    tile.scratch_bytes = plan.route_bytes() + (tile.staged ? strips / 4 * plan.filters_per_thread : 0);
    return;
  }
  const bool in_weights = int(sizeof(float)) * plan.weight_floats() >= strips;
  tile.staged = tile.tiles_across == 1 && plan.problem.out_width % 8 != 0 && plan.problem.channels >= 16;
  tile.scratch_bytes = tile.staged && !in_weights ? strips : 0;
  tile.lower_rows = tile.staged ? 0 : lower_rows(plan);
  if (tile.lower_rows > 0) tile.scratch_bytes = 2 * int(sizeof(float)) * tile.lower_rows;
}

StencilItems items_of(StencilUse use) {
  return use == StencilUse::pooled_input_gradient ? StencilItems::windows : StencilItems::elements;
}

// Sets what follows from strips and images of a tile; false where shared memory does not suffice.
bool finish_tile(StencilPlan& plan, StencilUse use) {
  StencilTile& tile = plan.tile;
  const int width = weight_width(plan.problem.kernel);
  const int weights = tile.filter_groups * group_weights(width, plan.filters_per_thread);
  set_pitches(plan.problem, tile);
  // A filter's taps of neighbouring channels, copied together, lie in neighbouring banks.
  const int taps = rounded(width * width, 4);
  tile.weight_pitch = weights + ((taps - weights) % 32 + 32) % 32;
  set_lists(plan, items_of(use), plan.step_channels());
  set_copy_teams(plan, items_of(use), plan.step_channels());
  // Of 3x3, four channels' taps of a filter are four sectors and a half, eight channels' nine.
  const int eight = 8 / stencil_channels(plan.problem.stride);
  const bool by_filters = use == StencilUse::forward || use == StencilUse::pool;
  for (tile.weight_steps = by_filters && plan.problem.kernel == 3 ? eight : 1;; tile.weight_steps /= 2) {
    set_scratch(plan, use);
    if (tile.weight_steps == 1 || plan.shared_bytes() <= kSharedBytes) break;
  }
  return plan.shared_bytes() <= kSharedBytes;
}

// The cheapest plan for a device of so many multiprocessors.
struct Search {
  StencilUse use;
  index_t processors;
  StencilPlan best = {};
  double least = 1e300;

  // So many teams, from `least_teams` on in powers of two.
  void try_teams(const StencilProblem& problem, int least_teams, int most_teams) {
    // What the kernel is compiled for, with half of it.
    const int many = problem.kernel == kCellKernel ? 4 : problem.kernel == 3 ? 8 : 10;
    for (int filters_per_thread : {many, many / 2}) {
      const int all_groups = ceil_div(problem.filters, filters_per_thread);
      for (int tiles = ceil_div(all_groups, kMostGroups), groups = 0; groups != 1; ++tiles) {
        if (ceil_div(all_groups, tiles) == groups) continue;
        groups = ceil_div(all_groups, tiles);
        StencilPlan plan{.problem = problem, .tile = {}, .filters_per_thread = filters_per_thread, .block_threads = 0};
        plan.tile.filter_groups = groups;
        for (plan.tile.teams = least_teams; plan.tile.teams <= most_teams; plan.tile.teams *= 2) improve(plan);
      }
    }
  }

 private:
  // With so many filters a thread and groups of them a block: whole small images, as many as cost least, or a part of a
  // large one.
  void improve(StencilPlan plan) {
    const StencilProblem& p = plan.problem;
    StencilTile& tile = plan.tile;
    const index_t image = index_t(p.channels) * p.groups * p.height * p.width;
    const index_t addressable = std::max<index_t>(1, INT32_MAX / image);
    const int all = kStencilThreads / (tile.filter_groups * tile.teams);
    for (int most = all; most > 0; most = most * 3 / 4) {
      if (!cut_strips(p, use, most, tile)) continue;
      const bool whole = tile.tiles_down * tile.tiles_across == 1;
      tile.images = whole ? int(std::min({index_t(most / (tile.down * tile.across)), p.batch, addressable})) : 1;
      for (;; tile.images = (tile.images + 1) / 2) {
        set_threads(plan);
        tile.image_blocks = image_blocks(plan, blocks_an_image(plan));
        const double slots = cost(plan, processors);
        if (slots < least && finish_tile(plan, use)) least = slots, best = plan;
        if (tile.images == 1) break;
      }
      if (whole || (best.filters_per_thread > 0 && most <= all / 2)) return;
    }
  }
};

// Of the device at hand. Small ones take the blocks of kProcessors in so many rounds that little is lost; what is
// emulated has few, of which tests would see little.
index_t multiprocessors() {
  constexpr int kFew = 100;
  int device = 0, count = 0;
  const bool known = !simt::kEmulated && cudaGetDevice(&device) == cudaSuccess &&
                     cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device) == cudaSuccess;
  return known && count >= kFew ? count : kProcessors;
}

// Teams, which alone decide the order of sums, are those of kProcessors. The rest of an input gradient's plan suits the
// device, whose last round of blocks would else be half empty: modelled, A100's 108 take lenet-5 conv2 in 65 us, not in
// 84. Forward passes of stride 1 keep their plan; another would make seed-cnn conv2 a quarter slower on A100.
StencilPlan plan_of(const StencilProblem& problem, StencilUse use) {
  const bool forward = use == StencilUse::forward || use == StencilUse::pool;
  const index_t processors = forward && problem.stride == 1 ? kProcessors : multiprocessors();
  Search search{.use = use, .processors = kProcessors};
  const int most_teams = std::min(problem.kernel == 5 && forward ? 2 : 4, stencil_channels(problem.stride));
  search.try_teams(problem, 1, std::min(most_teams, problem.channels));
  if (processors != kProcessors) {
    const int teams = search.best.tile.teams;
    search = {.use = use, .processors = processors};
    search.try_teams(problem, teams, teams);
  }
  StencilPlan best = search.best;
  part_teams(best);
  set_copy_lanes(best, items_of(use));
  set_copy_teams(best, items_of(use), best.step_channels());
  return best;
}

}  // namespace

index_t StencilPlan::shared_bytes() const {
  const index_t weights = index_t(weight_buffers()) * weight_floats();
  return 8 * index_t(tile.items) + tile.scratch_bytes +
         4 * (2 * index_t(source_floats()) + weights + tile.team_floats(sum_planes()) + tile.bias_floats);
}

simt::Launch StencilPlan::launch(cudaStream_t stream, std::source_location where) const {
  const int filter_tiles = ceil_div(problem.filters, tile.filter_groups * filters_per_thread);
  const index_t blocks = tile.image_blocks * tile.tiles_down * tile.tiles_across;
  require(blocks <= kMaxGridX && filter_tiles <= kMaxGridYZ && problem.groups <= kMaxGridYZ, "conv2d: ", blocks,
          " tiles x ", filter_tiles, " x ", problem.groups, " are more blocks than a grid has; split the filters");
  return {dim3(unsigned(blocks), unsigned(filter_tiles), unsigned(problem.groups)), dim3(unsigned(block_threads)),
          std::size_t(shared_bytes()), stream, where};
}

bool suits_stencil(const Conv2dShape& s, StencilUse use) {
  const bool square = s.kernel_height == s.kernel_width && (s.kernel_height == 3 || s.kernel_height == 5);
  const index_t most_strips = s.kernel_height == 3 ? 80 : 56;  // for which shared memory always suffices
  const index_t unit = 4 / std::gcd(index_t(4), s.out_width() / 2), rows = std::min(unit, s.out_height() / 2);
  const bool pools = ceil_div<index_t>(s.out_width(), kStripColumns) * rows <= most_strips;
  const bool cells = use == StencilUse::input_gradient && s.padding % 2 != 0;
  const bool strided = use == StencilUse::forward || use == StencilUse::weight_gradient || cells;
  const bool strides = s.stride == 1 || (s.stride == 2 && s.kernel_height == 3 && strided);
  return square && strides && s.dilation == 1 && s.height * s.width <= index_t(4) << kWindowBits &&
         (use != StencilUse::pool || pools);
}

bool pays_stencil(const Conv2dShape& s, StencilUse use) {
  if (!suits_stencil(s, use) || s.stride == 1) return suits_stencil(s, use);
  if (use == StencilUse::weight_gradient) return s.macs() >= index_t(1) << 29 && s.channels_per_group() >= 16;
  const index_t strips =
      ceil_div<index_t>(s.out_height(), kStripRows) * ceil_div<index_t>(s.out_width(), kStripColumns);
  const index_t computed = strips * kStripRows * kStripColumns;
  return 20 * s.out_height() * s.out_width() >= 19 * computed && s.channels_per_group() >= 8;
}

StencilPlan stencil_plan(const Conv2dShape& s, StencilUse use) {
  require(
      suits_stencil(s, use),
      "conv2d: a stencil takes stride 1, dilation 1 and kernels of 3x3 or 5x5, of stride 2 those of 3x3 (inputs' "
      "gradients with an odd padding), and for a pool a map narrow enough for shared memory; this one is ",
      s.kernel_height, " x ", s.kernel_width, ", stride ", s.stride, ", padding ", s.padding, ", on a width of ",
      s.width, "; use tiles or fastest");
  StencilProblem problem{.kernel = int(s.kernel_height),
                         .channels = int(s.channels_per_group()),
                         .filters = int(s.filters_per_group()),
                         .groups = int(s.groups),
                         .height = int(s.height),
                         .width = int(s.width),
                         .out_height = int(s.out_height()),
                         .out_width = int(s.out_width()),
                         .padding = int(s.padding),
                         .stride = int(s.stride),
                         .batch = s.batch};
  if (use == StencilUse::pool) {  // a last odd row or column is dropped
    problem.out_height = problem.out_height / 2 * 2, problem.out_width = problem.out_width / 2 * 2;
  }
  if (use == StencilUse::input_gradient || use == StencilUse::pooled_input_gradient) {
    std::swap(problem.channels, problem.filters);
    std::swap(problem.height, problem.out_height), std::swap(problem.width, problem.out_width);
    problem.padding = problem.kernel - 1 - problem.padding;
  }
  if (use == StencilUse::input_gradient && s.stride == 2) {
    problem.kernel = kCellKernel, problem.stride = 1, problem.padding = -int(s.padding / 2);
    problem.out_height = (problem.out_height + 1) / 2, problem.out_width = (problem.out_width + 1) / 2;
  }
  if (use == StencilUse::pooled_input_gradient && problem.kernel == 3) problem.shift = problem.padding & 1;
  return plan_of(problem, use);
}

}  // namespace espalier::kernels
