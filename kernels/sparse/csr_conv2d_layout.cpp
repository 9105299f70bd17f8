// Chooses tile and strip of csr_conv2d: the largest tile whose image part fits into shared memory with all channels of
// a group; where that would leave too few outputs for a strip, the channels are taken in several goes instead.
#include <algorithm>

#include "kernels/grid.h"
#include "kernels/require.h"
#include "kernels/sparse/csr_conv2d.h"

namespace espalier::kernels {
namespace {

// GPU: 48 KiB, which every one gives without asking. CPU: part of the L2 cache, for channels in goes cost much there.
constexpr index_t kWarpSlabFloats = 12 * 1024, kThreadSlabFloats = 32 * 1024;
constexpr index_t kMostRegisters = 8, kMostVectors = 12;  // of a strip: GPU, CPU
constexpr double kOverhead = 1.5;  // of a nonzero beside its reads: value, index and loop, in reads

// Registers per strip that cost least over the tile: long strips share the overhead, short ones waste less at the end.
index_t choose_strip(index_t positions, SparseTeam team) {
  const index_t width = team_width(team), most = is_warp(team) ? kMostRegisters : kMostVectors;
  index_t best = 1;
  double best_cost = 0;
  for (index_t registers = 1; registers <= most; ++registers) {
    const double cost = double(ceil_div(positions, registers * width)) * (double(registers) + kOverhead);
    if (registers == 1 || cost <= best_cost) best = registers, best_cost = cost;
  }
  return best * width;
}

index_t slab_floats(SparseTeam team) { return is_warp(team) ? kWarpSlabFloats : kThreadSlabFloats; }

index_t balanced(index_t extent, index_t largest) { return ceil_div(extent, ceil_div(extent, largest)); }

// What outputs see of the image beyond their own extent, counted in the steps of a phase.
struct Halo {
  explicit Halo(const Conv2dShape& shape)
      : reach_y(shape.dilation * (shape.kernel_height - 1)),
        reach_x(shape.dilation * (shape.kernel_width - 1)),
        rows(reach_y / shape.stride),
        columns(reach_x / shape.stride) {}
  index_t reach_y, reach_x, rows, columns;
};

// Every channel of the group fits: as many rows of outputs as do. 0 rows: they do not.
void tile_at_once(const Conv2dShape& shape, const Halo& halo, SparseTeam team, CsrConv2dLayout& layout) {
  const index_t phases = layout.phases_y * layout.phases_x, channels = shape.channels_per_group();
  const index_t widest = slab_floats(team) / (channels * phases * (halo.rows + 1)) - halo.columns;
  layout.tile_rows = 0;
  if (widest < std::min(shape.out_width(), 2 * team_width(team))) return;
  layout.tile_columns = balanced(shape.out_width(), widest);
  layout.pitch = layout.tile_columns + halo.columns;
  const index_t rows = std::min(slab_floats(team) / (channels * phases * layout.pitch) - halo.rows, shape.out_height());
  if (rows * layout.pitch < 2 * team_width(team) && rows < shape.out_height()) return;
  layout.tile_rows = balanced(shape.out_height(), rows);
  layout.channels = channels;
}

// The channels come in goes: one strip of outputs, so that the sums of several filters stay in registers.
void tile_in_goes(const Conv2dShape& shape, const Halo& halo, SparseTeam team, CsrConv2dLayout& layout) {
  const index_t phases = layout.phases_y * layout.phases_x, most = 8 * team_width(team);
  const index_t widest = std::min(slab_floats(team) / (phases * (halo.rows + 1)) - halo.columns, most);
  require(widest >= 1, "csr_conv2d: a kernel of ", shape.kernel_height, " x ", shape.kernel_width, ", dilation ",
          shape.dilation, ", sees more than shared memory holds; use the dense convolution");
  layout.tile_columns = balanced(shape.out_width(), widest);
  layout.pitch = layout.tile_columns + halo.columns;
  const index_t fitting = slab_floats(team) / (phases * layout.pitch) - halo.rows;
  layout.tile_rows = balanced(shape.out_height(), std::clamp<index_t>(most / layout.pitch, 1, fitting));
  layout.channels = slab_floats(team) / (phases * (layout.tile_rows + halo.rows) * layout.pitch);
  layout.channels = std::min(layout.channels, shape.channels_per_group());
}

}  // namespace

CsrConv2dLayout csr_conv2d_layout(const Conv2dShape& shape, SparseTeam team) {
  const Halo halo(shape);
  CsrConv2dLayout layout;
  layout.phases_y = std::min(shape.stride, halo.reach_y + 1);
  layout.phases_x = std::min(shape.stride, halo.reach_x + 1);
  tile_at_once(shape, halo, team, layout);
  layout.in_goes = layout.tile_rows == 0;
  if (layout.in_goes) tile_in_goes(shape, halo, team, layout);
  layout.plane = (layout.tile_rows + halo.rows) * layout.pitch;
  if (layout.in_goes) {
    while (layout.strip < layout.positions()) layout.strip = std::max(2 * layout.strip, team_width(team));
  } else {
    layout.strip = choose_strip(layout.positions(), team);
  }
  layout.strips = ceil_div(layout.positions(), layout.strip);
  const index_t last_read = layout.strips * layout.strip + halo.rows * layout.pitch + halo.columns;
  layout.slab_floats =
      layout.channels * layout.channel() - layout.plane + std::max(layout.plane, last_read + simt::kLanes);
  return layout;
}

}  // namespace espalier::kernels
