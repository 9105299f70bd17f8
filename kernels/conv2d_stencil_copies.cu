// What the blocks of a stencil copy (conv2d_stencil_sources.h): how long the lists are, which threads work them off.
#include <algorithm>
#include <numeric>
#include <vector>

#include "kernels/conv2d_stencil.h"
#include "kernels/grid.h"

namespace espalier::kernels {
namespace {

// The most elements of an axis, or windows of two, that a tile reads: of so many tiles, which begin `step` apart.
int most_read(int tiles, int step, int count, int padding, int size, int unit) {
  int most = 0;
  for (int first = -padding, tile = 0; tile < tiles; ++tile, first += step) {
    const int begin = first >> (unit - 1), end = (first + count + unit - 1) >> (unit - 1);
    most = std::max(most, std::min(end, size) - std::max(begin, 0));
  }
  return most;
}

// The items of a channel, and whether they are all of its plane: as StencilRange::listed().
struct ChannelItems {
  int count;
  bool whole;

  ChannelItems(const StencilPlan& plan, StencilItems of) {
    const StencilProblem& p = plan.problem;
    const int unit = of == StencilItems::windows ? 2 : 1, height = p.height / unit, width = p.width / unit;
    const StencilTile& tile = plan.tile;
    const int rows = most_read(tile.tiles_down, p.stride * kStripRows * tile.down, p.source_rows(tile.down), p.padding,
                               height, unit);
    const int columns = most_read(tile.tiles_across, p.stride * kStripColumns * tile.across,
                                  p.source_columns(tile.across), p.padding, width, unit);
    whole = columns == width && most_of(rows, height);
    count = whole ? height * width : rows * columns;
  }
};

// Where the first of the first tile's entries go, enough to see how rows follow each other (-1: a hole), and how many
// words of 4 bytes a lane stores there at a time. As PlaneSource and WindowSource list them.
struct CopyTargets {
  static constexpr std::size_t kEnough = 512;

  std::vector<int> to;
  int words = 1;

  CopyTargets(const StencilPlan& plan, StencilItems of) {
    const StencilProblem& p = plan.problem;
    const bool windows = of == StencilItems::windows;
    const int unit = windows ? 2 : 1, all_rows = p.height / unit, all_columns = p.width / unit;
    const int border = std::max(p.padding, 0), cropped = std::max(-p.padding, 0);
    const int rows = std::min(p.source_rows(plan.tile.down) - border, p.height - cropped) / unit;
    const int columns = std::min(p.source_columns(plan.tile.across) - border, p.width - cropped) / unit;
    const int listed = columns == all_columns && most_of(rows, all_rows) ? all_rows : rows;
    words = windows && (p.padding + p.shift) % 2 == 0 ? 2 : 1;
    for (int channel = 0; channel < plan.tile.listed; ++channel) {
      for (int row = 0; row < listed && to.size() < kEnough; ++row) {
        const int down = unit * row + border;
        const int first = channel * plan.tile.channel_pitch + row_offset(plan.tile, down) + p.shift;
        for (int column = 0; column < columns; ++column) {
          to.push_back(row < rows ? first + column_offset(plan.tile, border + unit * column, p.stride) : -1);
        }
      }
    }
  }

  // The warp's rounds, of which those of windows are longer, and the wavefronts that conflicts add, where each 16 lanes
  // take so many entries.
  int cost(int half_warp_items, int skew) const {
    const int warp_items = 2 * half_warp_items, count = int(to.size());
    int result = 0;
    for (int first = -skew; first < count; first += warp_items, result += words) {
      int lanes[2][32] = {}, most[2] = {};  // of two words, half a warp at a time
      for (int item = 0; item < warp_items; ++item) {
        const int i = first + item, half = words == 1 ? 0 : half_of(item, half_warp_items);
        for (int word = 0; word < words && i >= 0 && i < count && to[i] >= 0; ++word) {
          most[half] = std::max(most[half], ++lanes[half][(to[i] + word) % 32]);
        }
      }
      result += std::max(0, most[0] - 1) + std::max(0, most[1] - 1);
    }
    return result;
  }

 private:
  // As StencilTeam's lanes take them.
  static int half_of(int item, int half_warp_items) { return half_warp_items == 8 ? item % 2 : item / half_warp_items; }
};

}  // namespace

void set_lists(StencilPlan& plan, StencilItems items, int most_listed) {
  const ChannelItems channel(plan, items);
  StencilTile& tile = plan.tile;
  tile.listed = 1;
  // Parts of planes are no run: together only if they are too small for a warp.
  while (tile.listed < most_listed && 2 * tile.listed * channel.count <= kListedItems &&
         (channel.whole || tile.listed * channel.count < 32)) {
    tile.listed *= 2;
  }
  tile.items = tile.listed * channel.count;
}

// Each 16 lanes take 16 entries of a list, or only 12 or 8, which are whole sectors, too: where rows end in shared
// memory there are gaps, and 32 neighbours would meet in banks.
void set_copy_lanes(StencilPlan& plan, StencilItems items) {
  const CopyTargets targets(plan, items);
  const int unit = items == StencilItems::windows ? 4 : 1;
  const int run = plan.tile.listed * plan.problem.height * plan.problem.width / unit, step = std::gcd(run, 8);
  int least = INT32_MAX;
  for (int half_warp_items : {16, 12, 8}) {
    int cost = 0;
    for (int skew = 0; skew < 8; skew += step) cost += targets.cost(half_warp_items, skew);
    if (cost < least) least = cost, plan.tile.half_warp_items = half_warp_items;
  }
}

// Which threads copy: as few rounds as there can be, of large teams. To begin a list costs three rounds.
void set_copy_teams(StencilPlan& plan, StencilItems items, int channels) {
  StencilTile& tile = plan.tile;
  const int plane = plan.problem.height * plan.problem.width;
  const bool shares = items == StencilItems::elements && tile.listed == 1 && channels > 1 && plane % 4 == 0;
  tile.copy_period = !shares ? 0 : plane % 8 == 0 ? 1 : 2;
  const int runs = tile.images * (tile.copy_period > 0 ? tile.copy_period : ceil_div(channels, tile.listed));
  int fewest = INT32_MAX;
  for (int threads = plan.block_threads; threads > 0; threads -= 32) {
    const int teams = plan.block_threads / threads;
    const int rounds = ceil_div(runs, teams) * (ceil_div(tile.items + 7, threads / 16 * tile.half_warp_items) + 3);
    if (rounds < fewest) fewest = rounds, tile.copy_threads = threads, tile.copy_step = teams;
  }
}

}  // namespace espalier::kernels
