// Chooses the layout of a compiled convolution: every way of cutting outputs, filters and channels, by an account of
// what the busiest multiprocessor does.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <optional>
#include <set>
#include <tuple>

#include "kernels/grid.h"
#include "kernels/require.h"
#include "kernels/sparse/conv2d_source.h"
#include "kernels/sparse/conv_halo.h"

namespace espalier::kernels {
namespace {

constexpr index_t kMostThreads = 256, kMostImages = 16;  // of a block
constexpr index_t kMostSums = 128;                       // of a thread, in registers
constexpr index_t kOtherRegisters = 40;                  // addresses and inputs beside the sums
constexpr index_t kBanks = 32, kMostBlocks = 16;         // of a multiprocessor
constexpr double kIssue = 4;                             // instructions a cycle of a multiprocessor
constexpr double kFetch = 2;               // of them from the instruction cache; warps of a block share them
constexpr double kLoadInstructions = 3;    // for each float of x on its way to shared memory, predicate and all
constexpr double kPlaceInstructions = 15;  // to find its place, once for all channels
constexpr double kSumInstructions = 3, kBlockInstructions = 60;
// Of an instruction, of a load of x and of an instruction that no cache has yet, with nothing else to do.
constexpr double kCyclesAlone = 1.4, kGoCycles = 800, kColdCycles = 1;
constexpr double kOverlap = 1.5;  // norm of what is busy and what waits: 1 none, large all of it
constexpr double kHidden = 0.8;   // of the lesser pipe's cycles, behind those of the other

// Reads of shared memory that the outputs of a cell need of a channel, if every tap has a weight: pairs of columns
// where cells are two wide.
index_t loads_of(const Conv2dShape& shape, index_t cell_rows, index_t cell_columns) {
  std::set<std::tuple<index_t, index_t, index_t, index_t>> loads;
  for (index_t ky = 0; ky < shape.kernel_height; ++ky) {
    for (index_t kx = 0; kx < shape.kernel_width; ++kx) {
      const index_t y = ky * shape.dilation, x = kx * shape.dilation;
      for (index_t r = 0; r < cell_rows; ++r) {
        for (index_t c = 0; c < cell_columns; ++c) {
          loads.insert({y % shape.stride, x % shape.stride, y / shape.stride + r,
                        (x / shape.stride + c) / cell_columns * cell_columns});
        }
      }
    }
  }
  return index_t(loads.size());
}

// Which addresses of each bank a part of a warp reads.
class Banks {
 public:
  void read(index_t at) {
    const auto bank = std::size_t(at % kBanks);
    const auto begin = addresses_[bank].begin(), end = begin + counts_[bank];
    if (std::find(begin, end, at) == end) addresses_[bank][std::size_t(counts_[bank]++)] = at;
  }
  int busiest() const { return std::max(1, *std::max_element(counts_.begin(), counts_.end())); }

 private:
  std::array<std::array<index_t, kBanks>, kBanks> addresses_;
  std::array<int, kBanks> counts_{};
};

// Wavefronts that one read takes on average over the warps of a block: in each part of a warp that 128 bytes serve, as
// many as the busiest bank has addresses.
double wavefronts_of(const Conv2dSourceLayout& layout) {
  const index_t lanes = kBanks / layout.cell_columns, cells = layout.cells();
  double sum = 0;
  for (index_t first = 0; first < layout.threads; first += lanes) {
    Banks banks;
    for (index_t t = first; t < std::min(first + lanes, layout.images * cells); ++t) {
      const index_t cell = t % cells;
      const index_t at = t / cells * layout.image + cell / layout.cells_x() * layout.cell_rows * layout.pitch +
                         cell % layout.cells_x() * layout.cell_columns;
      for (index_t c = 0; c < layout.cell_columns; ++c) banks.read(at + c);
    }
    sum += banks.busiest();
  }
  return sum / double(layout.threads / kBanks);
}

class Chooser {
 public:
  Chooser(const FusedProduct& product, index_t batch, const SourceDevice& device)
      : product_(product), shape_(product.shape), halo_(shape_), batch_(batch), device_(device) {
    base_.phases_y = std::min(shape_.stride, halo_.reach_y + 1);
    base_.phases_x = std::min(shape_.stride, halo_.reach_x + 1);
    base_.out_rows = shape_.out_height() / step() * step();
    base_.out_columns = shape_.out_width() / step() * step();
    require(base_.out_rows > 0 && base_.out_columns > 0, "compiled convolution: outputs of ", shape_.out_height(),
            " x ", shape_.out_width(), " hold no window of a 2 x 2 pool");
  }

  Conv2dSourceLayout choose() {
    const auto products = index_t(product_.values.size()) * step() * step();
    require(products <= Conv2dSource::kMostCode, "more than ", Conv2dSource::kMostCode,
            " multiply-adds would be written out: too long to compile");
    for (const auto& [rows, columns] : {std::pair<index_t, index_t>{2, 2}, {1, 2}, {1, 1}}) {
      if (product_.pool && rows == 1) break;
      try_cells(rows, columns);
    }
    require(best_.has_value(), "shared memory of ", device_.shared_bytes,
            " bytes holds no part of what its outputs see, or a filter has too many weights");
    return *best_;
  }

 private:
  index_t step() const { return product_.pool ? 2 : 1; }  // outputs that must share a thread

  void try_cells(index_t rows, index_t columns) {
    Conv2dSourceLayout layout = base_;
    layout.cell_rows = rows, layout.cell_columns = columns;
    layout.loads = loads_of(shape_, rows, columns);
    const index_t across = ceil_div(layout.out_columns, columns), down = ceil_div(layout.out_rows, rows);
    for (index_t parts_x = 1; parts_x <= std::min<index_t>(across, 8); ++parts_x) {
      for (index_t parts_y = 1; parts_y <= down; ++parts_y) {
        const index_t before = layout.tile_rows;
        layout.tile_columns = ceil_div(across, parts_x) * columns, layout.tile_rows = ceil_div(down, parts_y) * rows;
        if (parts_y > 1 && layout.tile_rows == before) continue;
        const index_t most_images = layout.tiles() == 1 ? std::min(kMostImages, batch_) : 1;
        for (index_t images = 1; images <= most_images && images * layout.cells() <= kMostThreads; ++images) {
          layout.images = images;
          layout.threads = ceil_div<index_t>(images * layout.cells(), kBanks) * kBanks;
          try_slabs(layout);
        }
      }
    }
  }

  // Rows a little longer, and images a little farther apart, may lie in other banks.
  void try_slabs(Conv2dSourceLayout layout) {
    layout.rows = layout.tile_rows + halo_.rows;
    const index_t least = ceil_div(layout.tile_columns + halo_.columns, layout.cell_columns);
    for (index_t pitch = least; pitch < least + 4; ++pitch) {
      layout.pitch = pitch * layout.cell_columns, layout.wavefronts = 0;
      for (index_t channels = shape_.channels; channels > 0; channels /= 2) {
        layout.channels = channels;
        for (index_t apart = 0; apart < (layout.images > 1 ? 32 : 1); apart += 2) {
          layout.image = channels * layout.channel() + apart;
          if (4 * layout.slab_floats() > device_.shared_bytes) continue;
          if (layout.images > 1 || layout.wavefronts == 0) layout.wavefronts = wavefronts_of(layout);
          try_filters(layout);
        }
      }
    }
  }

  void try_filters(Conv2dSourceLayout layout) {
    const index_t cell = layout.cell_rows * layout.cell_columns;
    index_t before = 0;
    for (index_t groups = 1; groups <= shape_.filters; ++groups) {
      layout.filters = ceil_div(shape_.filters, groups);
      if (layout.filters == before || layout.sums() > kMostSums) continue;
      before = layout.filters, layout.groups = ceil_div(shape_.filters, layout.filters);
      // Dealt out evenly, parts differ by some percent.
      const index_t products = index_t(product_.values.size()) * cell;
      if (products > Conv2dSource::kMostCode) continue;
      if (1.05 * double(products) / double(layout.groups) > double(Conv2dSource::kMostProducts)) continue;
      layout.registers = std::min<index_t>(255, ceil_div<index_t>(layout.sums() + kOtherRegisters, 8) * 8);
      const double cost = cost_of(layout);
      if (cost < least_) least_ = cost, best_ = layout;
    }
  }

  // Cycles of the busiest multiprocessor.
  double cost_of(const Conv2dSourceLayout& layout) const {
    const Conv2dSourceWork work = conv2d_source_work(product_, layout);
    const auto warps = double(layout.threads / kBanks);
    const double fma = work.products * double(kBanks) / double(device_.fp32_lanes), issue = work.instructions / kIssue;
    const double fetch = std::min(1.0, 4 / warps) * work.instructions / kFetch;
    const double busiest = std::max({fma, issue, fetch, work.wavefronts});
    const double cycles = busiest + (1 - kHidden) * std::min(std::max(fma, issue), work.wavefronts);
    const double alone =
        kCyclesAlone * work.instructions / warps + kGoCycles * double(ceil_div(shape_.channels, layout.channels));
    const index_t fitting = device_.shared_bytes / std::max<index_t>(1, 4 * layout.slab_floats());
    const index_t resident = std::min(layout.blocks_together(), fitting);
    const index_t blocks = layout.groups * layout.tiles() * ceil_div(batch_, layout.images);
    const index_t mine = ceil_div(blocks, device_.multiprocessors);
    const double cold = kColdCycles * work.instructions / warps * double(std::min(mine, layout.groups));
    const auto together = [&](index_t count) {
      const double sum = std::pow(double(count) * cycles, kOverlap) + std::pow(alone, kOverlap);
      return count == 0 ? 0.0 : std::pow(sum, 1 / kOverlap);
    };
    return cold + double(mine / resident) * together(resident) + together(mine % resident);
  }

  const FusedProduct& product_;
  const Conv2dShape& shape_;
  ConvHalo halo_;
  index_t batch_;
  SourceDevice device_;
  Conv2dSourceLayout base_;
  std::optional<Conv2dSourceLayout> best_;
  double least_ = std::numeric_limits<double>::infinity();
};

}  // namespace

Conv2dSourceWork conv2d_source_work(const FusedProduct& product, const Conv2dSourceLayout& layout) {
  const index_t channels = product.shape.channels, turns = ceil_div(layout.channel(), layout.threads);
  const double floats = double(turns * layout.images * channels);  // that a thread takes to shared memory
  const double places = double(turns * ceil_div(channels, layout.channels));
  const double cell = double(layout.cell_rows * layout.cell_columns), loads = double(layout.loads * channels);
  const auto warps = double(layout.threads / kBanks);
  Conv2dSourceWork work{.products = warps * double(product.values.size()) * cell / double(layout.groups)};
  work.instructions = work.products + warps * (loads + kLoadInstructions * floats + kPlaceInstructions * places +
                                               kSumInstructions * double(layout.sums()) + kBlockInstructions);
  // Neighbours in a row are stored together where rows of y have them in pairs, else they share sectors.
  const bool pairs = product.shape.out_width() % 2 == 0;
  const double stores = product.pool ? 1.0 : cell * (layout.cell_columns == 1 || pairs ? 1.0 : 2.0);
  work.wavefronts = warps * (loads * layout.wavefronts + floats + stores * double(layout.filters));
  return work;
}

// Registers belong to a quarter of a multiprocessor each; warps of a block are dealt to them in turn.
index_t Conv2dSourceLayout::blocks_together() const {
  constexpr index_t kQuarters = 4, kRegistersOfQuarter = 16384, kThreads = 1024;  // threads: of compute capability 7.5
  const index_t warps = threads / kBanks, room = kQuarters * (kRegistersOfQuarter / (kBanks * registers));
  const index_t taken = warps < kQuarters ? warps : ceil_div(warps, kQuarters) * kQuarters;
  return std::clamp<index_t>(std::min(room / taken, kThreads / threads), 1, kMostBlocks);
}

Conv2dSourceLayout conv2d_source_layout(const FusedProduct& product, index_t batch, const SourceDevice& device) {
  require(product.shape.groups == 1, "the code of a convolution with groups is not written");
  return Chooser(product, batch, device).choose();
}

}  // namespace espalier::kernels
