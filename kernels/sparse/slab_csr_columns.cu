// The order in which a block takes its columns. Rows that multiply side by side must come along evenly: one that has
// all its nonzeros early makes the others wait, which is padding. So each next column is, of some 256 that come first
// among those left, the one that brings the rows' counts closest to their even pace: sum over its rows of
// (ahead + 1)^2 - ahead^2, least. Of 4096 columns at 90 % random zeros that leaves 1.9 % of padding where ascending
// columns leave 7; of trained layers 3 to 4 %, where they leave 6 to 9. Vector balancing by greed: Spencer, Balancing
// Games, 1977. One block of threads for each block of rows, which share out the candidates. A column that is taken
// changes the others' costs by as many rows as they share with it, which is counted in bits: about 1 050 warp
// instructions a column at 160 rows.
#include "kernels/sparse/slab_csr_steps.h"
#include "kernels/warp.h"

namespace espalier::kernels {
namespace {

constexpr int kChoice = 256, kRefill = 32;  // candidates; columns that are taken before others take their places
constexpr int kMaxPlaces = SlabCsrView::kMaxWarps * SlabCsrView::kWarpRows, kMaxWords = kMaxPlaces / 32;
constexpr int kPace = 1 << 16;                                // a nonzero, in the units of how far a row is ahead
constexpr int kWorkers = simt::kContiguousElements ? 1 : 64;  // to find the least cost takes more warps longer
using Workers = Team<kWorkers>;

// A block's rows and columns as bits.
struct BlockBits {
  int words, rows;
  std::uint32_t* columns;  // [columns, words]

  __device__ BlockBits(const SlabCsrView& layout, const SlabCsrScratch& scratch)
      : words(int(SlabCsrScratch::row_words(layout))),
        rows(layout.first_rows[blockIdx.x + 1] - layout.first_rows[blockIdx.x]),
        columns(scratch.column_bits + blockIdx.x * layout.columns * words) {}
  // visit(row) for those that have the column
  template <class Visit>
  __device__ void for_rows(int column, Visit visit) const {
    for (int word = 0; word < words; ++word) {
      std::uint32_t bits = columns[index_t(column) * words + word];
      for (; bits != 0; bits &= bits - 1) visit(32 * word + __ffs(int(bits)) - 1);
    }
  }
};

__device__ inline void mark_columns(const CsrView& csr, const SlabCsrView& layout, const BlockBits& bits) {
  for (index_t i = threadIdx.x; i < layout.columns * bits.words; i += kWorkers) bits.columns[i] = 0;
  __syncthreads();
  for (int row = int(threadIdx.x); row < bits.rows; row += kWorkers) {
    const index_t at = layout.first_rows[blockIdx.x] + row;
    for (int i = csr.row_offsets[at]; i < csr.row_offsets[at + 1]; ++i) {
      atomicOr(&bits.columns[index_t(csr.column_indices[i]) * bits.words + row / 32], 1u << row % 32);
    }
  }
  __syncthreads();
}

// list = the columns that any row has, ascending; how many.
__device__ inline int list_columns(const SlabCsrView& layout, const BlockBits& bits, std::uint16_t* list) {
  int listed = 0;
  for (int first = 0; first < int(layout.columns); first += kWorkers) {
    const int column = first + int(threadIdx.x);
    bool any = false;
    if (column < int(layout.columns)) bits.for_rows(column, [&](int) { any = true; });
    const RankInTeam rank = Workers::rank(any);
    if (any) list[listed + int(rank.before)] = std::uint16_t(column);
    listed += int(rank.total);
  }
  __syncthreads();
  return listed;
}

// How the rows of a block come along.
struct Progress {
  int ahead[kMaxPlaces], pace[kMaxPlaces];  // of its even pace; by what that rises with each column
};

// Columns of which one is taken next.
struct Candidates {
  static constexpr std::int64_t kTaken = std::int64_t(1) << 53;  // a cost beyond all others
  std::int64_t cost[kChoice], fall[kChoice];                     // by what it falls with each column that is taken
  std::uint32_t rows[kMaxWords][kChoice];
  std::uint16_t column[kChoice];

  __device__ void clear(int i) { cost[i] = kTaken, fall[i] = 0; }
  __device__ void set(const BlockBits& bits, const Progress& progress, int i, std::uint16_t listed) {
    std::int64_t now = 0, less = 0;
    bits.for_rows(listed, [&](int row) {
      now += 2 * std::int64_t(progress.ahead[row]) + kPace;
      less += 2 * progress.pace[row];
    });
    cost[i] = now, fall[i] = less, column[i] = listed;
    for (int word = 0; word < bits.words; ++word) rows[word][i] = bits.columns[index_t(listed) * bits.words + word];
  }
  // Another was taken.
  __device__ void update(const BlockBits& bits, int i, int taken) {
    int shared = 0;
    for (int word = 0; word < bits.words; ++word) shared += __popc(rows[word][i] & rows[word][taken]);
    cost[i] += 2 * std::int64_t(kPace) * shared - fall[i];
  }
};

// Gives free places to list [entered, listed), as far as it reaches; how many have entered then.
__device__ inline int refill(const BlockBits& bits, const Progress& progress, const std::uint16_t* list, int entered,
                             int listed, Candidates& candidates) {
  for (int first = 0; first < kChoice; first += kWorkers) {
    const int i = first + int(threadIdx.x);
    const bool is_free = candidates.cost[i] >= Candidates::kTaken / 2;
    const RankInTeam rank = Workers::rank(is_free);
    const int mine = entered + int(rank.before);
    if (is_free && mine < listed) candidates.set(bits, progress, i, list[mine]);
    entered = min(listed, entered + int(rank.total));
  }
  return entered;
}

__device__ inline void start_progress(const CsrView& csr, const SlabCsrView& layout, const BlockBits& bits, int listed,
                                      Progress& progress) {
  const index_t first_row = layout.first_rows[blockIdx.x];
  for (int row = int(threadIdx.x); row < bits.rows; row += kWorkers) {
    const std::int64_t length = csr.row_offsets[first_row + row + 1] - csr.row_offsets[first_row + row];
    progress.ahead[row] = 0, progress.pace[row] = listed == 0 ? 0 : int(length * kPace / listed);
  }
}

// Puts the list into its order.
__device__ inline void order_list(const CsrView& csr, const SlabCsrView& layout, const BlockBits& bits, int listed,
                                  std::uint16_t* list) {
  __shared__ Progress progress;
  __shared__ Candidates candidates;
  start_progress(csr, layout, bits, listed, progress);
  for (int i = int(threadIdx.x); i < kChoice; i += kWorkers) candidates.clear(i);
  for (int next = 0, entered = 0; next < listed; ++next) {
    if (next % kRefill == 0) {
      __syncthreads();  // the rows have come along, and nobody reads taken candidates any more
      entered = refill(bits, progress, list, entered, listed, candidates);
    }
    std::int64_t best = INT64_MAX;
    for (int i = int(threadIdx.x); i < kChoice; i += kWorkers) best = min(best, candidates.cost[i] * kChoice + i);
    best = Workers::reduce(best, Min());
    const int taken = int(best & (kChoice - 1));
    for (int i = int(threadIdx.x); i < kChoice; i += kWorkers) candidates.update(bits, i, taken);
    if (taken % kWorkers == int(threadIdx.x)) {
      list[next] = candidates.column[taken];  // that place of the list has entered already
      candidates.clear(taken);
    }
    for (int row = int(threadIdx.x); row < bits.rows; row += kWorkers) {
      const std::uint32_t word = candidates.rows[row / 32][taken];
      progress.ahead[row] += int(word >> row % 32 & 1) * kPace - progress.pace[row];
    }
  }
  __syncthreads();
}

__global__ void order_columns_kernel(CsrView csr, SlabCsrView layout, SlabCsrScratch scratch,
                                     std::uint16_t* __restrict__ block_columns,
                                     std::int32_t* __restrict__ column_counts) {
  const BlockBits bits(layout, scratch);
  std::uint16_t* list = block_columns + blockIdx.x * layout.columns;
  mark_columns(csr, layout, bits);
  const int listed = list_columns(layout, bits, list), slabs = int(layout.slabs());
  if (threadIdx.x == 0) column_counts[blockIdx.x] = listed;
  order_list(csr, layout, bits, listed, list);
  for (int row = int(threadIdx.x); row < bits.rows; row += kWorkers) {
    std::uint64_t* of_row = scratch.slab_bits + (layout.first_rows[blockIdx.x] + row) * slabs;
    for (int slab = 0, first = 0; slab < slabs; ++slab, first += SlabCsrView::kSlab) {
      std::uint64_t has = 0;
      for (int i = 0; i < SlabCsrView::kSlab && first + i < listed; ++i) {
        has |= std::uint64_t(bits.columns[index_t(list[first + i]) * bits.words + row / 32] >> row % 32 & 1) << i;
      }
      of_row[slab] = has;
    }
  }
}

}  // namespace

void slab_csr_order_columns(const CsrView& csr, const SlabCsrView& layout, const SlabCsrScratch& scratch,
                            std::uint16_t* block_columns, std::int32_t* column_counts, cudaStream_t stream) {
  simt::launch(order_columns_kernel, {dim3(unsigned(layout.blocks)), dim3(kWorkers), 0, stream}, csr, layout, scratch,
               block_columns, column_counts);
}

}  // namespace espalier::kernels
