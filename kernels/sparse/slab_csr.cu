// How the groups of a quad come about: while slab s is current, all its nonzeros that are left must be multiplied; the
// row with most of them says how many groups that takes, and the other rows go on into the slabs after it, which are
// resident already. No group is taken before it must be, so the rows always have the most to choose from.
#include "kernels/sparse/slab_csr.h"

#include "kernels/elementwise.h"
#include "kernels/grid.h"
#include "kernels/require.h"
#include "kernels/sparse/running_sum.h"

namespace espalier::kernels {
namespace {

// 4096 x 4096, 90 % zeros, batch 256: a column of a slab costs about what 24 rows cost, by its copy and its barrier.
constexpr index_t kRowsWorthACopy = 24;
constexpr index_t kRowsWorthAWait = 32;  // fewer rows take no less time: a slab's way from L2 is longer than their work
constexpr index_t kTileSamples = 64;
constexpr int kQuad = SlabCsrView::kQuad, kSteps = SlabCsrView::kSteps;

// One part of a row: every parts-th of its nonzeros from `next` on.
struct RowPart {
  int next = 0, end = 0, parts = 1;

  __device__ RowPart() {}
  __device__ RowPart(const CsrView& csr, index_t row, int part, int parts)
      : next(csr.row_offsets[row] + part), end(csr.row_offsets[row + 1]), parts(parts) {}
  __device__ int length() const { return next < end ? ceil_div(end - next, parts) : 0; }
  // Nonzeros with columns before that one.
  __device__ int length_before(const CsrView& csr, index_t column) const {
    int low = 0, high = length();
    while (low < high) {
      const int middle = (low + high) / 2;
      if (csr.column_indices[next + middle * parts] < column) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    return low;
  }
};

// first_rows [blocks + 1]: each block has about the same share of the nonzeros, and places for its rows. One thread.
__global__ void cut_blocks_kernel(CsrView csr, SlabCsrView layout, std::int32_t* __restrict__ first_rows) {
  const index_t places = layout.block_places();
  index_t row = 0;
  for (index_t block = 0; block < layout.blocks; ++block) {
    first_rows[block] = std::int32_t(row);
    const index_t share = csr.nonzeros * (block + 1) / layout.blocks, behind = layout.blocks - block - 1;
    const index_t last = row + places < csr.rows ? row + places : csr.rows;
    const index_t least = csr.rows - behind * places;  // so that the blocks behind have places for the rest
    while (row < last && (row < least || index_t(csr.row_offsets[row]) + csr.row_offsets[row + 1] < 2 * share)) ++row;
  }
  first_rows[layout.blocks] = std::int32_t(csr.rows);
}

// How many of the rows [first, end) come before row `at` when sorted, the larger first.
template <class Size>
__device__ inline int rank_among(int at, int first, int end, Size size) {
  const int mine = size(at);
  int rank = 0;
  for (int other = first; other < end; ++other) {
    const int its = size(other);
    if (its > mine || (its == mine && other < at)) ++rank;
  }
  return rank;
}

constexpr int kMaxQuads = SlabCsrView::kMaxWarps * SlabCsrView::kQuads;

// slot_of [quads of a block]: each quad, the longest first, goes to the warp that has least to do and room for it
// (Graham, Bounds on Multiprocessing Timing Anomalies, 1969). groups [quads] that each takes. One thread.
__device__ inline void deal_quads(int warps, const int* groups, int* slot_of) {
  int work[SlabCsrView::kMaxWarps] = {}, quads[SlabCsrView::kMaxWarps] = {};
  for (int quad = 0; quad < warps * SlabCsrView::kQuads; ++quad) {
    int chosen = -1;
    for (int warp = 0; warp < warps; ++warp) {
      if (quads[warp] < SlabCsrView::kQuads && (chosen < 0 || work[warp] < work[chosen])) chosen = warp;
    }
    slot_of[quad] = chosen * SlabCsrView::kQuads + quads[chosen]++;
    work[chosen] += groups[quad];
  }
}

// The least length that no part need exceed: rows [first, end) cut into parts of it fill the places at most. Cutting
// pays only while rows are longer than others: it ends at their mean. One thread.
__device__ inline int part_length(const CsrView& csr, index_t first, index_t end, index_t places) {
  int longest = 1;
  index_t rows = 0;
  for (index_t row = first; row < end; ++row) {
    const int length = csr.row_offsets[row + 1] - csr.row_offsets[row];
    longest = max(longest, length), rows += length > 0;
  }
  const int all = csr.row_offsets[end] - csr.row_offsets[first];
  int low = rows == 0 ? 1 : min(longest, ceil_div(all, int(rows)));
  int high = longest;
  while (low < high) {
    const int middle = (low + high) / 2;
    index_t parts = 0;
    for (index_t row = first; row < end; ++row) {
      parts += ceil_div(csr.row_offsets[row + 1] - csr.row_offsets[row], middle);
    }
    if (parts <= places) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return high;
}

// Cuts the block's rows into parts: rows_of and numbers [places] say which row each belongs to and the how many-th it
// is there. One thread.
__device__ inline int cut_rows(const CsrView& csr, const SlabCsrView& layout, const SlabCsrOrder& order,
                               std::int32_t* rows_of, int* numbers) {
  const index_t first = order.first_rows[blockIdx.x], end = order.first_rows[blockIdx.x + 1];
  const int most = part_length(csr, first, end, layout.block_places());
  int part = 0;
  for (index_t row = first; row < end; ++row) {
    const int parts = ceil_div(csr.row_offsets[row + 1] - csr.row_offsets[row], most);
    order.parts[row] = unsigned(part) | unsigned(parts) << 16;
    for (int i = 0; i < parts; ++i, ++part) rows_of[part] = std::int32_t(row), numbers[part] = i;
  }
  return part;
}

// The part of a row that a place holds.
__device__ inline RowPart part_at(const CsrView& csr, const SlabCsrView& layout, index_t place) {
  const index_t row = layout.row_of[place];
  if (row < 0) return RowPart();
  const unsigned parts = layout.parts[row];
  return RowPart(csr, row, layout.part_of[place] - int(parts & 0xFFFF), int(parts >> 16));
}

// Walks a quad's four parts as the product will.
struct QuadWalk {
  RowPart parts[kQuad];

  __device__ QuadWalk() {}
  __device__ QuadWalk(const CsrView& csr, const SlabCsrView& layout, index_t quad) {
    for (int r = 0; r < kQuad; ++r) parts[r] = part_at(csr, layout, quad * kQuad + r);
  }
  // The groups of slab `slab`, and visit(group, row, step, nonzero or -1) for all their elements.
  template <class Visit>
  __device__ int pass(const CsrView& csr, int slab, Visit visit) {
    int due = 0;
    for (const RowPart& part : parts) {
      int count = 0;
      for (int i = part.next; i < part.end && csr.column_indices[i] < (slab + 1) * SlabCsrView::kSlab;
           i += part.parts) {
        ++count;
      }
      due = max(due, count);
    }
    const int groups = ceil_div(due, kSteps);
    for (int r = 0; r < kQuad; ++r) {
      RowPart& part = parts[r];
      for (int i = 0; i < groups * kSteps; ++i) {
        const bool resident = part.next < part.end &&
                              csr.column_indices[part.next] < (slab + SlabCsrView::kResident) * SlabCsrView::kSlab;
        visit(i / kSteps, r, i % kSteps, resident ? part.next : -1);
        if (resident) part.next += part.parts;
      }
    }
    return groups;
  }
};

// A block of threads for each block of rows, a thread for each place. Parts are sorted by length; then among kWarpRows
// of about the same length quads are made of those whose nonzeros lie alike, so that their walks stay together: of 4096
// columns at 90 % zeros, 4.9 % padding instead of 5.8 %.
__global__ void order_rows_kernel(CsrView csr, SlabCsrView layout, SlabCsrOrder order) {
  constexpr int kPlaces = SlabCsrView::kMaxWarps * SlabCsrView::kWarpRows;
  __shared__ std::int32_t rows_of[kPlaces];
  __shared__ int numbers[kPlaces], lengths[kPlaces], left[kPlaces], by_length[kPlaces];
  __shared__ int at_rank[kPlaces], groups[kMaxQuads], slot_of[kMaxQuads], parts;
  const int i = int(threadIdx.x), alike = i / SlabCsrView::kWarpRows * SlabCsrView::kWarpRows;
  if (i == 0) parts = cut_rows(csr, layout, order, rows_of, numbers);
  __syncthreads();
  lengths[i] = left[i] = -1;  // what is no part comes last
  if (i < parts) {
    const RowPart part(csr, rows_of[i], numbers[i], int(order.parts[rows_of[i]] >> 16));
    lengths[i] = part.length(), left[i] = part.length_before(csr, csr.columns / 2);
  }
  __syncthreads();
  by_length[rank_among(i, 0, int(blockDim.x), [&](int at) { return lengths[at]; })] = i;
  __syncthreads();
  const int part = by_length[i];
  const int rank =
      alike + rank_among(i, alike, alike + SlabCsrView::kWarpRows, [&](int at) { return left[by_length[at]]; });
  at_rank[rank] = part;
  __syncthreads();
  if (i < layout.warps * SlabCsrView::kQuads) {
    QuadWalk walk;
    for (int r = 0; r < kQuad; ++r) {
      const int one = at_rank[i * kQuad + r];
      if (one < parts) walk.parts[r] = RowPart(csr, rows_of[one], numbers[one], int(order.parts[rows_of[one]] >> 16));
    }
    groups[i] = 0;
    for (int slab = 0; slab < layout.slabs(); ++slab) groups[i] += walk.pass(csr, slab, [](int, int, int, int) {});
  }
  __syncthreads();
  if (i == 0) deal_quads(layout.warps, groups, slot_of);
  __syncthreads();
  const index_t place = index_t(blockIdx.x) * blockDim.x + slot_of[rank / kQuad] * kQuad + rank % kQuad;
  order.part_of[place] = part < parts ? part : -1;
  order.row_of[place] = part < parts ? rows_of[part] : -1;
}

// Byte q of a warp's word of counts.
__device__ inline index_t count_at(const SlabCsrView& layout, index_t quad, index_t slab) {
  return (quad / SlabCsrView::kQuads * layout.slabs() + slab) * SlabCsrView::kQuads + quad % SlabCsrView::kQuads;
}

__global__ void count_groups_kernel(CsrView csr, SlabCsrView layout, std::uint8_t* __restrict__ counts,
                                    std::int32_t* __restrict__ groups) {
  const index_t quad = index_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (quad >= layout.quads()) return;
  QuadWalk walk(csr, layout, quad);
  int total = 0;
  for (int slab = 0; slab < layout.slabs(); ++slab) {
    const int here = walk.pass(csr, slab, [](int, int, int, int) {});
    counts[count_at(layout, quad, slab)] = std::uint8_t(here);
    total += here;
  }
  groups[quad + 1] = total;
  if (quad > 0) return;
  groups[0] = 0;
  const index_t words = layout.count_words();
  for (index_t i = 4 * (words - 1); i < 4 * words; ++i) counts[i] = 0;
}

// The ring row of a column, as a byte at its step's place in a word.
__device__ inline unsigned ring_row(int column, int step) {
  const int slab = column / SlabCsrView::kSlab;
  const int row = slab % SlabCsrView::kSlabs * SlabCsrView::kPitch + column % SlabCsrView::kSlab;
  return unsigned(row) << 8 * step;
}

__global__ void fill_groups_kernel(CsrView csr, SlabCsrView view, float* __restrict__ values,
                                   std::uint32_t* __restrict__ ring_rows) {
  const index_t quad = index_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (quad >= view.quads()) return;
  QuadWalk walk(csr, view, quad);
  index_t first = view.group_offsets[quad];
  const auto write = [&](int group, int row, int step, int nonzero) {
    const index_t at = (first + group) * kQuad + row;
    values[at * kSteps + step] = nonzero < 0 ? 0.0f : csr.values[nonzero];
    const unsigned place =
        nonzero < 0 ? unsigned(SlabCsrView::kZeros) << 8 * step : ring_row(csr.column_indices[nonzero], step);
    ring_rows[at] = step == 0 ? place : ring_rows[at] | place;
  };
  for (int slab = 0; slab < view.slabs(); ++slab) first += walk.pass(csr, slab, write);
  if (quad > 0) return;
  first = view.group_count;
  for (int i = 0; i < kQuad * kSteps; ++i) write(0, i / kSteps, i % kSteps, -1);
}

__global__ void slab_csr_decode_kernel(SlabCsrView view, float* __restrict__ weight) {
  const index_t quad = index_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (quad >= view.quads()) return;
  const auto* counts = reinterpret_cast<const std::uint8_t*>(view.counts);
  index_t group = view.group_offsets[quad];
  for (int slab = 0; slab < view.slabs(); ++slab) {
    const index_t end = group + counts[count_at(view, quad, slab)];
    for (; group < end; ++group) {
      for (int i = 0; i < kQuad * kSteps; ++i) {
        const int ring = int(view.ring_rows[group * kQuad + i / kSteps] >> 8 * (i % kSteps) & 0xFF);
        const int slot = ring / SlabCsrView::kPitch, column = ring % SlabCsrView::kPitch;
        if (column == SlabCsrView::kZeros) continue;
        const int ahead = (slot - slab % SlabCsrView::kSlabs + SlabCsrView::kSlabs) % SlabCsrView::kSlabs;
        const index_t row = view.row_of[quad * kQuad + i / kSteps];
        weight[row * view.columns + (slab + ahead) * SlabCsrView::kSlab + column] =
            view.values[group * kQuad * kSteps + i];
      }
    }
  }
}

}  // namespace

SlabCsrView slab_csr_layout(index_t rows, index_t columns, index_t batch, index_t multiprocessors, double skew) {
  constexpr double kEven = 1.5;                 // beyond it, half of the rows may take a second place
  const index_t halves = skew > kEven ? 3 : 2;  // places to two rows
  SlabCsrView best, layout;
  best.rows = layout.rows = rows, best.columns = layout.columns = columns;
  index_t least = 0;
  for (layout.warps = 1, layout.blocks = 2; layout.warps <= SlabCsrView::kMaxWarps && layout.blocks > 1;
       ++layout.warps) {
    const index_t block_rows = layout.block_places() * 2 / halves;
    layout.blocks = ceil_div(rows, block_rows);
    const index_t all = layout.blocks * ceil_div(batch, kTileSamples);
    const index_t cost = ceil_div(all, multiprocessors) * (std::max(block_rows, kRowsWorthAWait) + kRowsWorthACopy);
    if (layout.warps == 1 || cost <= least) least = cost, best = layout;
  }
  return best;
}

void slab_csr_count(const CsrView& csr, const SlabCsrView& layout, const SlabCsrOrder& order, std::uint32_t* counts,
                    std::int32_t* group_offsets, cudaStream_t stream) {
  require(csr.rows == layout.rows && csr.columns == layout.columns, "slab_csr_count: the weight is ", csr.rows, " x ",
          csr.columns, ", the layout ", layout.rows, " x ", layout.columns);
  require(layout.warps > 0 && layout.warps <= SlabCsrView::kMaxWarps && layout.has_places(),
          "slab_csr_count: ", layout.blocks, " blocks of ", layout.warps, " warps for ", layout.rows, " rows; 1 to ",
          SlabCsrView::kMaxWarps, " warps of ", SlabCsrView::kWarpRows, " rows are possible");
  simt::launch(cut_blocks_kernel, {dim3(1), dim3(1), 0, stream}, csr, layout, order.first_rows);
  simt::launch(order_rows_kernel, {dim3(unsigned(layout.blocks)), dim3(unsigned(layout.block_places())), 0, stream},
               csr, layout, order);
  SlabCsrView ordered = layout;
  ordered.first_rows = order.first_rows, ordered.parts = order.parts;
  ordered.part_of = order.part_of, ordered.row_of = order.row_of;
  simt::launch(count_groups_kernel, one_thread_per(layout.quads(), stream), csr, ordered,
               reinterpret_cast<std::uint8_t*>(counts), group_offsets);
  running_sum(int(layout.quads()) + 1, group_offsets, stream);
}

void slab_csr_fill(const CsrView& csr, const SlabCsrView& view, float* values, std::uint32_t* ring_rows,
                   cudaStream_t stream) {
  simt::launch(fill_groups_kernel, one_thread_per(view.quads(), stream), csr, view, values, ring_rows);
}

void slab_csr_decode(const SlabCsrView& view, float* weight, cudaStream_t stream) {
  fill(view.rows * view.columns, 0.0f, weight, stream);
  simt::launch(slab_csr_decode_kernel, one_thread_per(view.quads(), stream), view, weight);
}

}  // namespace espalier::kernels
