#include "kernels/sparse/slab_csr_steps.h"

#include "kernels/elementwise.h"
#include "kernels/grid.h"
#include "kernels/require.h"
#include "kernels/sparse/running_sum.h"

namespace espalier::kernels {
namespace {

constexpr int kQuad = SlabCsrView::kQuad, kSteps = SlabCsrView::kSteps;

// Where the block ends that begins at a row: it has at most so many nonzeros, and a place for each row.
__device__ inline index_t end_of_block(const CsrView& csr, index_t places, index_t first, index_t most) {
  const index_t limit = csr.row_offsets[first] + most;
  index_t low = first, high = first + places < csr.rows ? first + places : csr.rows;
  while (low < high) {
    const index_t middle = (low + high + 1) / 2;
    if (csr.row_offsets[middle] <= limit) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return low;
}

// first_rows [blocks + 1]: so that the block with most nonzeros has as few as neighbouring rows allow. One thread.
__global__ void cut_blocks_kernel(CsrView csr, SlabCsrView layout, std::int32_t* __restrict__ first_rows) {
  const auto suffices = [&](index_t most) {
    index_t row = 0;
    for (index_t block = 0; block < layout.blocks; ++block) row = end_of_block(csr, layout.block_places(), row, most);
    return row == csr.rows;
  };
  index_t low = csr.nonzeros / layout.blocks, high = csr.nonzeros;
  while (low < high) {
    const index_t middle = (low + high) / 2;
    if (suffices(middle)) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  index_t row = 0;
  for (index_t block = 0; block <= layout.blocks; ++block) {
    first_rows[block] = std::int32_t(row);
    if (block < layout.blocks) row = end_of_block(csr, layout.block_places(), row, low);
  }
}

// Padding everywhere, until nonzeros take its places.
__global__ void clear_groups_kernel(index_t words, float* __restrict__ values, std::uint32_t* __restrict__ ring_rows) {
  constexpr std::uint32_t kPadding = SlabCsrView::kZeros * 0x01010101u;
  const index_t word = index_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (word >= words) return;
  for (int i = 0; i < kSteps; ++i) values[word * kSteps + i] = 0.0f;
  ring_rows[word] = kPadding;
}

// The nonzeros of a row in the order in which its block takes the columns.
class RowWalk {
 public:
  __device__ RowWalk(const CsrView& csr, const SlabCsrView& view, const std::uint64_t* slab_bits, index_t row,
                     index_t block)
      : csr_(csr),
        bits_(slab_bits + row * view.slabs()),
        columns_(view.block_columns + block * view.columns),
        begin_(csr.row_offsets[row]),
        end_(csr.row_offsets[row + 1]),
        slabs_(int(view.slabs())),
        left_(bits_[0]) {}
  // visit(ring row, value) for the next one if its slab comes before that one.
  template <class Visit>
  __device__ bool take(int slab_limit, Visit visit) {
    while (left_ == 0) {
      if (slab_ + 1 >= slab_limit || slab_ + 1 >= slabs_) return false;
      left_ = bits_[++slab_];
    }
    if (slab_ >= slab_limit) return false;
    const int at = __ffsll(static_cast<long long>(left_)) - 1;
    left_ &= left_ - 1;
    visit(slab_ % SlabCsrView::kSlabs * SlabCsrView::kPitch + at, value_of(columns_[slab_ * SlabCsrView::kSlab + at]));
    return true;
  }

 private:
  __device__ float value_of(int column) const {
    int low = begin_, high = end_;
    while (high - low > 1) {
      const int middle = (low + high) / 2;
      (csr_.column_indices[middle] <= column ? low : high) = middle;
    }
    return csr_.values[low];
  }

  const CsrView& csr_;
  const std::uint64_t* bits_;
  const std::uint16_t* columns_;
  int begin_, end_, slabs_, slab_ = 0;
  std::uint64_t left_;
};

// A thread for each row: slab by slab, its parts take nonzeros in the order of their places.
__global__ void fill_groups_kernel(CsrView csr, SlabCsrView view, SlabCsrScratch scratch, float* __restrict__ values,
                                   std::uint8_t* __restrict__ ring_rows) {
  const index_t row = index_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (row >= view.rows) return;
  index_t block = 0;
  while (view.first_rows[block + 1] <= row) ++block;
  const auto* counts = reinterpret_cast<const std::uint8_t*>(view.counts);
  const int part = int(view.parts[row] & 0xFFFF), end = part + int(view.parts[row] >> 16);
  const index_t first = block * view.block_places();
  for (int i = part; i < end; ++i) {
    scratch.next_group[first + i] = view.group_offsets[(first + scratch.place_of[first + i]) / kQuad];
  }
  RowWalk walk(csr, view, scratch.slab_bits, row, block);
  for (int slab = 0; slab < view.slabs(); ++slab) {
    for (int i = part; i < end; ++i) {
      const index_t place = first + scratch.place_of[first + i];
      const int groups = counts[slab_csr_count_at(view, place / kQuad, slab)];
      const index_t group = scratch.next_group[first + i];
      scratch.next_group[first + i] += groups;
      for (int step = 0; step < groups * kSteps; ++step) {
        const index_t at = ((group + step / kSteps) * kQuad + place % kQuad) * kSteps + step % kSteps;
        if (!walk.take(slab + SlabCsrView::kResident, [&](int ring_row, float value) {
              ring_rows[at] = std::uint8_t(ring_row), values[at] = value;
            })) {
          break;
        }
      }
    }
  }
}

__global__ void slab_csr_decode_kernel(SlabCsrView view, float* __restrict__ weight) {
  const index_t quad = index_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (quad >= view.quads()) return;
  const auto* counts = reinterpret_cast<const std::uint8_t*>(view.counts);
  const std::uint16_t* columns = view.block_columns + quad / (view.warps * SlabCsrView::kQuads) * view.columns;
  index_t group = view.group_offsets[quad];
  for (int slab = 0; slab < view.slabs(); ++slab) {
    const index_t end = group + counts[slab_csr_count_at(view, quad, slab)];
    for (; group < end; ++group) {
      for (int i = 0; i < kQuad * kSteps; ++i) {
        const int ring = int(view.ring_rows[group * kQuad + i / kSteps] >> 8 * (i % kSteps) & 0xFF);
        const int slot = ring / SlabCsrView::kPitch, column = ring % SlabCsrView::kPitch;
        if (column == SlabCsrView::kZeros) continue;
        const int ahead = (slot - slab % SlabCsrView::kSlabs + SlabCsrView::kSlabs) % SlabCsrView::kSlabs;
        const index_t row = view.row_of[quad * kQuad + i / kSteps];
        const index_t listed = (slab + ahead) * SlabCsrView::kSlab + column;
        weight[row * view.columns + columns[listed]] = view.values[group * kQuad * kSteps + i];
      }
    }
  }
}

}  // namespace

SlabCsrScratch::SlabCsrScratch(const SlabCsrView& layout, std::int64_t* words)
    : slab_bits(reinterpret_cast<std::uint64_t*>(words)),
      column_bits(reinterpret_cast<std::uint32_t*>(slab_bits + layout.rows * layout.slabs())),
      place_of(reinterpret_cast<std::int32_t*>(column_bits + layout.blocks * layout.columns * row_words(layout))),
      next_group(place_of + layout.places()),
      walked(reinterpret_cast<std::uint8_t*>(next_group + layout.places())) {}

index_t slab_csr_scratch(const SlabCsrView& layout) {
  const index_t words = layout.blocks * layout.columns * SlabCsrScratch::row_words(layout) + 2 * layout.places();
  return layout.rows * layout.slabs() + ceil_div<index_t>(4 * words + layout.quads() * layout.slabs(), 8);
}

namespace {

// What the busiest multiprocessor does in a product, in units of what a row costs while enough warps are there to hide
// the rest. Fitted to modelled times of an A100, 64 to 4096 rows of 800 to 4096 columns, 90 to 95 % zeros, batch 256
// and 1024: us, with blocks and warps by this and with just the blocks that rows fill: 1024 x 1024 at 90 %, batch
// 256, 14.9 and 17.6; lenet-5 dense_1 7.7 and 10.6, seed-cnn dense_1 8.3 and 20.4.
index_t product_cost(index_t block_rows, int warps, index_t all_blocks, index_t multiprocessors) {
  constexpr index_t kSlab = 40;    // to wait for its columns
  constexpr index_t kCopies = 24;  // of them, shared out among the warps
  constexpr index_t kLatency = 4;  // of a row where a warp is alone with its scheduler
  constexpr index_t kUneven = 2;   // of a warp: that one has more to do than others, at the barrier
  constexpr int kWarpsForTwo = 8;  // of a block, to leave registers for another where the device has the memory
  const index_t of_block = block_rows + kSlab + ceil_div(kLatency * block_rows, index_t(warps)) +
                           ceil_div(kCopies, index_t(warps)) + kUneven * warps;
  const index_t rounds = ceil_div(all_blocks, multiprocessors), cost = rounds * of_block;
  return rounds > 1 && warps <= kWarpsForTwo ? cost - cost / 16 : cost;
}

}  // namespace

template <class T>
SlabCsrView slab_csr_layout(index_t rows, index_t columns, index_t batch, index_t multiprocessors, double skew) {
  constexpr double kEven = 1.25;                // beyond it, half of the rows may take a second place
  constexpr index_t kFewestRows = 4;            // of a block
  const index_t halves = skew > kEven ? 3 : 2;  // places to two rows
  SlabCsrView best, layout;
  best.rows = layout.rows = rows, best.columns = layout.columns = columns;
  index_t least = INT64_MAX;
  for (layout.warps = SlabCsrView::kMinWarps; layout.warps <= slab_csr_warps<T>(); ++layout.warps) {
    const index_t fewest = ceil_div(rows, layout.block_places() * 2 / halves);
    for (layout.blocks = fewest; layout.blocks <= std::max(fewest, rows / kFewestRows); ++layout.blocks) {
      const index_t all = layout.blocks * ceil_div<index_t>(batch, slab_csr_samples<T>());
      const index_t cost = product_cost(ceil_div(rows, layout.blocks), layout.warps, all, multiprocessors);
      if (cost < least) least = cost, best = layout;
    }
  }
  return best;
}
template SlabCsrView slab_csr_layout<float>(index_t, index_t, index_t, index_t, double);
template SlabCsrView slab_csr_layout<half>(index_t, index_t, index_t, index_t, double);
template SlabCsrView slab_csr_layout<bfloat16>(index_t, index_t, index_t, index_t, double);

void slab_csr_count(const CsrView& csr, const SlabCsrView& layout, const SlabCsrOrder& order, std::uint32_t* counts,
                    std::int32_t* group_offsets, std::int64_t* scratch, cudaStream_t stream) {
  require(csr.rows == layout.rows && csr.columns == layout.columns, "slab_csr_count: the weight is ", csr.rows, " x ",
          csr.columns, ", the layout ", layout.rows, " x ", layout.columns);
  require(layout.columns <= SlabCsrView::kMaxColumns, "slab_csr_count: ", layout.columns, " columns; at most ",
          SlabCsrView::kMaxColumns, " fit 16-bit indices");
  require(layout.warps >= SlabCsrView::kMinWarps && layout.warps <= SlabCsrView::kMaxWarps && layout.has_places(),
          "slab_csr_count: ", layout.blocks, " blocks of ", layout.warps, " warps for ", layout.rows, " rows; ",
          SlabCsrView::kMinWarps, " to ", SlabCsrView::kMaxWarps, " warps of ", SlabCsrView::kWarpRows,
          " rows are possible");
  const SlabCsrScratch steps(layout, scratch);
  simt::launch(cut_blocks_kernel, {dim3(1), dim3(1), 0, stream}, csr, layout, order.first_rows);
  SlabCsrView cut = layout;
  cut.first_rows = order.first_rows;
  slab_csr_order_columns(csr, cut, steps, order.block_columns, order.column_counts, stream);
  slab_csr_form_quads(csr, cut, steps, order, reinterpret_cast<std::uint8_t*>(counts), group_offsets, stream);
  running_sum(int(layout.quads()) + 1, group_offsets, stream);
}

void slab_csr_fill(const CsrView& csr, const SlabCsrView& view, float* values, std::uint32_t* ring_rows,
                   std::int64_t* scratch, cudaStream_t stream) {
  const index_t words = (view.group_count + 1) * kQuad;
  simt::launch(clear_groups_kernel, one_thread_per(words, stream), words, values, ring_rows);
  simt::launch(fill_groups_kernel, one_thread_per(view.rows, stream), csr, view, SlabCsrScratch(view, scratch), values,
               reinterpret_cast<std::uint8_t*>(ring_rows));
}

void slab_csr_decode(const SlabCsrView& view, float* weight, cudaStream_t stream) {
  fill(view.rows * view.columns, 0.0f, weight, stream);
  simt::launch(slab_csr_decode_kernel, one_thread_per(view.quads(), stream), view, weight);
}

}  // namespace espalier::kernels
