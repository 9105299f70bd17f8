// Chooses tile and strip of the direct sparse convolutions. csr_conv2d: the largest tile whose image part fits into
// shared memory with all channels of a group; where that would leave too few outputs for a strip, and always for
// vectors, the tile is one strip and the channels are taken in as many goes as they need.
#include <algorithm>

#include "kernels/grid.h"
#include "kernels/require.h"
#include "kernels/sparse/conv_halo.h"
#include "kernels/sparse/csr_conv2d.h"
#include "kernels/sparse/vector_nm_conv2d.h"

namespace espalier::kernels {
namespace {

// GPU: 48 KiB, which every one gives without asking. CPU: part of the L2 cache, for channels in goes cost much there.
constexpr index_t kWarpSharedFloats = 12 * 1024, kThreadSlabFloats = 32 * 1024;
constexpr index_t kMostRegisters = 8, kMostVectors = 12;  // of a strip: GPU, CPU
constexpr double kOverhead = 1.5;  // of a nonzero beside its reads: value, index and loop, in reads

class Chooser {
 public:
  Chooser(const Conv2dShape& shape, SparseTeam team, ConvPool pool) : shape_(shape), halo_(shape), team_(team) {
    made_.pool = pool;
    made_.phases_y = std::min(shape.stride, halo_.reach_y + 1);
    made_.phases_x = std::min(shape.stride, halo_.reach_x + 1);
    const index_t step = pool == ConvPool::halves ? 2 : 1;
    made_.out_rows = shape.out_height() / step * step, made_.out_columns = shape.out_width() / step * step;
    require(made_.out_rows > 0 && made_.out_columns > 0, "csr_conv2d: outputs of ", shape.out_height(), " x ",
            shape.out_width(), " hold no window of a 2 x 2 pool");
  }

  // Every channel of the group fits: as many rows of outputs as do. False: they do not.
  bool at_once() {
    const index_t channels = shape_.channels_per_group(), width = team_width(team_);
    const index_t last_strip = kMostRegisters * width;
    const index_t widest = slab_room(last_strip) / (channels * phases() * (halo_.rows + 1)) - halo_.columns;
    if (widest < std::min(made_.out_columns, 2 * width)) return false;
    made_.tile_columns = balanced(made_.out_columns, widest);
    made_.pitch = made_.tile_columns + halo_.columns;
    index_t rows = made_.out_rows;
    const auto needs = [&](index_t count) { return channels * phases() * (count + halo_.rows) * made_.pitch; };
    while (rows > 0 && needs(rows) > slab_room(rows * made_.pitch + last_strip)) --rows;
    if (rows < made_.out_rows && (rows < step() || rows * made_.pitch < 2 * width)) return false;
    made_.tile_rows = balanced(made_.out_rows, rows);
    made_.channels = channels;
    made_.strip = best_strip();
    return true;
  }

  // One strip of at most `most` registers, so that the sums of several filters stay there from go to go.
  void in_goes(index_t most) {
    most *= team_width(team_);
    const index_t room = slab_room(most);
    const index_t widest =
        std::min(room / (phases() * (halo_.rows + step())), (most + halo_.columns) / step()) - halo_.columns;
    require(widest >= step(), "csr_conv2d: a kernel of ", shape_.kernel_height, " x ", shape_.kernel_width,
            ", dilation ", shape_.dilation, ", sees more than shared memory holds; use the dense convolution");
    made_.in_goes = true;
    made_.tile_columns = balanced(made_.out_columns, widest);
    made_.pitch = made_.tile_columns + halo_.columns;
    // A row reaches beyond its last output only where another follows it.
    const index_t rows = (most + halo_.columns) / made_.pitch, fitting = room / (phases() * made_.pitch) - halo_.rows;
    made_.tile_rows = balanced(made_.out_rows, std::clamp(rows, step(), fitting));
    made_.channels = room / (phases() * (made_.tile_rows + halo_.rows) * made_.pitch);
    made_.channels = std::min(made_.channels, shape_.channels_per_group());
    while (made_.strip < made_.positions()) made_.strip = std::max(2 * made_.strip, team_width(team_));
  }

  CsrConv2dLayout finished() {
    made_.plane = (made_.tile_rows + halo_.rows) * made_.pitch;
    made_.strips = ceil_div(made_.positions(), made_.strip);
    const index_t last_read = made_.strips * made_.strip + halo_.rows * made_.pitch + halo_.columns;
    made_.slab_floats =
        made_.channels * made_.channel() - made_.plane + std::max(made_.plane, last_read + simt::kLanes);
    if (!is_warp(team_)) made_.staging_floats = made_.strips * made_.strip + 2 * simt::kLanes;
    if (is_warp(team_) && made_.pool == ConvPool::halves) made_.staging_floats = made_.strips * made_.strip;
    return made_;
  }

 private:
  index_t phases() const { return made_.phases_y * made_.phases_x; }
  index_t step() const { return made_.pool == ConvPool::halves ? 2 : 1; }  // outputs that must share a tile

  // What the outputs that warps collect before they pool them leave to the image part.
  index_t slab_room(index_t staged) const {
    if (!is_warp(team_)) return kThreadSlabFloats;
    return kWarpSharedFloats - (made_.pool == ConvPool::halves ? WarpTeam::kPerBlock * staged : 0);
  }

  // Tiles of about one size, none larger than `largest`.
  index_t balanced(index_t extent, index_t largest) const {
    const index_t whole = largest / step() * step();
    return ceil_div(ceil_div(extent, ceil_div(extent, whole)), step()) * step();
  }

  // Registers per strip that cost least over the tile: long strips share the overhead, short ones waste less at the
  // end.
  index_t best_strip() const {
    const index_t width = team_width(team_), most = is_warp(team_) ? kMostRegisters : kMostVectors;
    index_t best = 1;
    double best_cost = 0;
    for (index_t registers = 1; registers <= most; ++registers) {
      const double strips = double(ceil_div(made_.positions(), registers * width));
      const double cost = strips * (double(registers) + kOverhead);
      if (registers == 1 || cost <= best_cost) best = registers, best_cost = cost;
    }
    return best * width;
  }

  const Conv2dShape& shape_;
  ConvHalo halo_;
  SparseTeam team_;
  CsrConv2dLayout made_;
};

}  // namespace

CsrConv2dLayout csr_conv2d_layout(const Conv2dShape& shape, SparseTeam team, ConvPool pool) {
  Chooser chooser(shape, team, pool);
  if (!chooser.at_once()) chooser.in_goes(kMostRegisters);
  return chooser.finished();
}

CsrConv2dLayout vector_nm_conv2d_layout(const Conv2dShape& shape, SparseTeam team, ConvPool pool) {
  Chooser chooser(shape, team, pool);
  chooser.in_goes(is_warp(team) ? kMostRegisters : kVectorThreadRegisters);
  return chooser.finished();
}

}  // namespace espalier::kernels
