// Which rows stand together, and when each quad multiplies. A quad is made of the four rows that have most nonzeros
// left; its length settles how many of theirs it is meant to take, and what is left of the longer ones goes to another
// quad, or to another place of this one where that is still more than others have. Shorter quads waste less and take
// more places, so lengths are chosen by what a place costs, and the prices and longest lengths are tried that leave the
// busiest warp and all of them with least to do. Then the product is walked slab by slab: while a nonzero is left whose
// slab is about to go, that quad of its row takes a group which finds most nonzeros to multiply. No group is taken
// before it must be, so the rows always have the most to choose from.
#include "kernels/sparse/slab_csr_steps.h"
#include "kernels/warp.h"

namespace espalier::kernels {
namespace {

constexpr int kQuad = SlabCsrView::kQuad, kQuads = SlabCsrView::kQuads, kSteps = SlabCsrView::kSteps;
constexpr int kMaxWarps = SlabCsrView::kMaxWarps, kMaxQuads = kMaxWarps * kQuads, kMaxPlaces = kMaxQuads * kQuad;
constexpr int kFewRows = 64;  // of a block: trying is cheap, and there is little to choose from
constexpr int kWorkers = simt::kContiguousElements ? 1 : 32;
using Workers = Team<kWorkers>;

// Rows of a block that stand together, -1: none, and how many groups of each are meant, and taken.
struct Quads {
  int count;
  std::int16_t rows[kMaxQuads][kQuad];
  int meant[kMaxQuads], groups[kMaxQuads];
};

struct Block {
  int warps, rows;
  index_t first_row;
  __device__ explicit Block(const SlabCsrView& layout)
      : warps(layout.warps),
        rows(layout.first_rows[blockIdx.x + 1] - layout.first_rows[blockIdx.x]),
        first_row(layout.first_rows[blockIdx.x]) {}
  __device__ int quads() const { return warps * kQuads; }
};

// Rows that stand in a quad already, and how many nonzeros of a row a place takes at most.
struct Chosen {
  int rows[kQuad] = {}, count = 0, most = 0;
  __device__ int left_of(int row, int left) const {
    for (int i = 0; i < count; ++i) {
      if (rows[i] == row) left = max(0, left - most);
    }
    return left;
  }
};

// The row that has most left beside those places; -1 where none has any.
__device__ inline int longest_row(const int* left, int rows, const Chosen& chosen) {
  int best = -1;
  for (int row = int(threadIdx.x); row < rows; row += kWorkers) {
    const int here = chosen.left_of(row, left[row]);
    if (here > 0) best = max(best, here * kMaxPlaces + (kMaxPlaces - 1 - row));  // a row has at most kMaxColumns
  }
  best = Workers::reduce(best, Max());
  return best < 0 ? -1 : kMaxPlaces - 1 - best % kMaxPlaces;
}

// Groups of a quad whose rows have `left` nonzeros, descending: least padding and price of rows that are left over.
__device__ inline int quad_groups(const int (&left)[kQuad], int most, int price) {
  int best = 1, least = INT32_MAX;
  for (int i = 0; i < 2 * kQuad; ++i) {
    const int groups = min(most, (left[i / 2] + i % 2 * (kSteps - 1)) / kSteps), length = groups * kSteps;
    if (groups == 0) continue;
    int cost = 0;
    for (const int one : left) cost += one <= length ? length - one : price;
    if (cost < least) least = cost, best = groups;
  }
  return best;
}

// How rows may be cut: the first `whole` quads are as long as their rows, the others have `most` groups at most;
// `price`: what it costs to leave a row over, in nonzeros.
struct Cut {
  int whole = 0, most = 0, price = 0;
};

// Nonzeros that a quad of so many groups takes off its rows; one may stand in several of its places.
__device__ inline int taken_by(const int (&rows)[kQuad], const int* left, int groups) {
  int taken = 0;
  for (int i = 0; i < kQuad; ++i) {
    int here = rows[i] < 0 ? 0 : left[rows[i]];
    for (int before = 0; before < i; ++before) here -= rows[before] == rows[i] ? groups * kSteps : 0;
    taken += max(0, min(here, groups * kSteps));
  }
  return taken;
}

// False where they would be too many, or where all have more groups than `bound` for certain: those so far and, without
// padding, those of the nonzeros that are left.
__device__ inline bool form_quads(const Block& block, const int* lengths, const Cut& cut, int nonzeros, int bound,
                                  int* left, Quads& quads) {
  __syncthreads();  // the quads before these have been read
  for (int row = int(threadIdx.x); row < block.rows; row += kWorkers) left[row] = lengths[row];
  int all_groups = 0;
  for (int count = 0;; ++count) {
    __syncthreads();
    const int most = count < cut.whole ? SlabCsrView::kMaxColumns : cut.most;
    Chosen chosen;
    chosen.most = most * kSteps;
    int of[kQuad];
    for (int& mine : of) {
      const int row = longest_row(left, block.rows, chosen);
      mine = row < 0 ? 0 : chosen.left_of(row, left[row]);
      chosen.rows[chosen.count++] = row;
    }
    if (chosen.rows[0] < 0 || count == block.quads()) {
      if (threadIdx.x == 0) quads.count = count;
      __syncthreads();
      return chosen.rows[0] < 0;
    }
    const int groups = quad_groups(of, most, cut.price);
    nonzeros -= taken_by(chosen.rows, left, groups), all_groups += groups;
    if (all_groups + ceil_div(nonzeros, kQuad * kSteps) > bound) return false;
    __syncthreads();  // all have read what is left
    if (threadIdx.x > 0) continue;
    quads.meant[count] = quads.groups[count] = groups;
    for (int i = 0; i < kQuad; ++i) {
      const int row = chosen.rows[i];
      quads.rows[count][i] = std::int16_t(row);
      if (row >= 0) left[row] -= min(left[row], groups * kSteps);
    }
  }
}

// slot_of [quads of a block]: each quad, the longest first, goes to the warp that has least to do and room for it
// (Graham, Bounds on Multiprocessing Timing Anomalies, 1969). Returns the groups of the busiest.
__device__ inline int deal_quads(const Block& block, const Quads& quads, int* slot_of) {
  __shared__ int work[kMaxWarps], dealt[kMaxWarps];
  const auto groups = [&](int quad) { return quad < quads.count ? quads.groups[quad] : 0; };
  __syncthreads();
  for (int warp = int(threadIdx.x); warp < block.warps; warp += kWorkers) work[warp] = dealt[warp] = 0;
  for (int quad = int(threadIdx.x); quad < block.quads(); quad += kWorkers) slot_of[quad] = -1;
  int most = 0;
  for (int i = 0; i < block.quads(); ++i) {
    __syncthreads();
    int longest = -1, least = INT32_MAX;
    for (int quad = int(threadIdx.x); quad < block.quads(); quad += kWorkers) {
      if (slot_of[quad] < 0) longest = max(longest, groups(quad) * kMaxQuads + (kMaxQuads - 1 - quad));
    }
    for (int warp = int(threadIdx.x); warp < block.warps; warp += kWorkers) {
      if (dealt[warp] < kQuads) least = min(least, work[warp] * kMaxWarps + warp);
    }
    const int quad = kMaxQuads - 1 - Workers::reduce(longest, Max()) % kMaxQuads;
    const int warp = Workers::reduce(least, Min()) % kMaxWarps, now = work[warp] + groups(quad);
    __syncthreads();  // all have read the work
    if (threadIdx.x == 0) slot_of[quad] = warp * kQuads + dealt[warp]++, work[warp] = now;
    most = max(most, now);
  }
  __syncthreads();
  return most;
}

// Which quads a block's warps have, by their slots, and what they have to do.
struct Dealt {
  int quad_of[kMaxQuads], work[kMaxWarps];

  __device__ int groups(const Quads& quads, int slot) const {
    return quad_of[slot] < quads.count ? quads.groups[quad_of[slot]] : 0;
  }
  __device__ int busiest(int warps) const {
    int best = 0;
    for (int warp = 1; warp < warps; ++warp) best = work[warp] > work[best] ? warp : best;
    return best;
  }
  // Swaps a quad of the busiest warp for a smaller one, if that leaves both with less to do than it had.
  __device__ bool swap(const Quads& quads, int warps) {
    const int from = busiest(warps);
    int mine = -1, other = -1, least = work[from];
    for (int i = from * kQuads; i < (from + 1) * kQuads; ++i) {
      for (int j = 0; j < warps * kQuads; ++j) {
        const int less = groups(quads, i) - groups(quads, j), most = max(work[from] - less, work[j / kQuads] + less);
        if (j / kQuads != from && most < least) least = most, mine = i, other = j;
      }
    }
    if (mine < 0) return false;
    const int less = groups(quads, mine) - groups(quads, other), quad = quad_of[mine];
    work[from] -= less, work[other / kQuads] += less;
    quad_of[mine] = quad_of[other], quad_of[other] = quad;
    return true;
  }
};

// Makes the busiest warp less busy by swaps, as long as there are any. Returns its groups.
__device__ inline int even_out(const Block& block, const Quads& quads, int* slot_of) {
  __shared__ Dealt dealt;
  if (threadIdx.x == 0) {
    for (int quad = 0; quad < block.quads(); ++quad) dealt.quad_of[slot_of[quad]] = quad;
    for (int warp = 0; warp < block.warps; ++warp) dealt.work[warp] = 0;
    for (int slot = 0; slot < block.quads(); ++slot) dealt.work[slot / kQuads] += dealt.groups(quads, slot);
    while (dealt.swap(quads, block.warps)) {
    }
    for (int slot = 0; slot < block.quads(); ++slot) slot_of[dealt.quad_of[slot]] = slot;
  }
  __syncthreads();
  const int most = dealt.work[dealt.busiest(block.warps)];
  __syncthreads();
  return most;
}

// What these quads take of a block's time, and of the multiprocessor's; nothing but `least` or more where that is
// clear.
__device__ inline int cost_of(const Block& block, const Quads& quads, int least, int* slot_of) {
  int groups = 0;
  for (int quad = int(threadIdx.x); quad < quads.count; quad += kWorkers) groups += quads.groups[quad];
  groups = Workers::reduce(groups, Sum());
  return 2 * groups >= least ? least : deal_quads(block, quads, slot_of) * block.warps + groups;
}

// The best quads of all that are tried.
__device__ inline void choose_quads(const Block& block, const int* lengths, int* left, int* slot_of, Quads& quads) {
  constexpr int kLongest = 8;                       // that are tried: from an equal share of a place to 2.75 of them
  constexpr int kHighest = 8, kNever = 1 << 24;     // price: beyond 2^7 no row is cut that need not be
  const int step = block.rows <= kFewRows ? 1 : 2;  // prices: by doubling, of many rows fourfold
  int all = 0, least = INT32_MAX;
  Cut best;
  for (int row = 0; row < block.rows; ++row) all += lengths[row];
  const auto try_all = [&](int whole) {
    const int rest = all - int(std::int64_t(all) * min(block.rows, whole * kQuad) / max(block.rows, 1));
    const int even = max(1, ceil_div(rest, (block.quads() - whole) * kQuad * kSteps));
    Cut cut{whole, even};
    for (int i = 0; i < kLongest || least == INT32_MAX; ++i) {
      cut.most = i < kLongest ? ceil_div(even * (4 + i), 4) : 2 * cut.most;
      for (int power = 0; power <= kHighest; power += step) {
        cut.price = power < kHighest ? 1 << power : kNever;
        if (!form_quads(block, lengths, cut, all, (least - 1) / 2, left, quads)) continue;
        const int cost = cost_of(block, quads, least, slot_of);
        if (cost < least) least = cost, best = cut;
      }
    }
  };
  try_all(0);
  // As many whole quads to each warp, and the rest shared out; unless the best is within 2 % of no padding and warps
  // that end together.
  const int ideal = 2 * ceil_div(all, kQuad * kSteps);
  for (int whole = block.warps; whole * kQuad <= block.rows && whole < block.quads(); whole += block.warps) {
    if (least - ideal > ideal / 50) try_all(whole);
  }
  form_quads(block, lengths, best, all, INT32_MAX, left, quads);
}

// How far the rows are while the product is walked.
struct Walk {
  int taken[kMaxPlaces], due[kMaxPlaces], resident[kMaxPlaces], groups[kMaxQuads];

  // By the i-th place of a quad, once those before it have taken theirs.
  __device__ int found(const std::int16_t (&rows)[kQuad], int i) const {
    if (rows[i] < 0) return 0;
    int here = resident[rows[i]] - taken[rows[i]];
    for (int before = 0; before < i; ++before) here -= rows[before] == rows[i] ? kSteps : 0;
    return max(0, min(kSteps, here));
  }
  // The quad that finds most of those with a row that is due, of equals the one that is furthest from what it is meant
  // to take; -1: none is. One that has taken all that must find so many nonzeros more.
  __device__ int next_quad(const Quads& quads, int more) const {
    constexpr int kShares = 1 << 12;
    int best = -1;
    for (int quad = int(threadIdx.x); quad < quads.count; quad += kWorkers) {
      bool is_due = false;
      int nonzeros = 0;
      for (int i = 0; i < kQuad; ++i) {
        const int row = quads.rows[quad][i];
        is_due |= row >= 0 && taken[row] < due[row];
        nonzeros += found(quads.rows[quad], i);
      }
      if (groups[quad] >= quads.meant[quad]) nonzeros = max(0, nonzeros - more);
      const int open = max(0, kShares - 1 - groups[quad] * (kShares / 2) / quads.meant[quad]);
      if (is_due) best = max(best, (nonzeros * kShares + open) * kMaxQuads + (kMaxQuads - 1 - quad));
    }
    best = Workers::reduce(best, Max());
    return best < 0 ? -1 : kMaxQuads - 1 - best % kMaxQuads;
  }
};

// counts [slabs, quads of the block] and quads.groups = the groups that each quad takes; `more`: next_quad().
__device__ inline void walk_slabs(const Block& block, const SlabCsrView& layout, const std::uint64_t* slab_bits,
                                  int more, Quads& quads, std::uint8_t* counts) {
  __shared__ Walk walk;
  const int slabs = int(layout.slabs());
  const auto in_slab = [&](int row, int slab) {
    return slab < slabs ? __popcll(slab_bits[(block.first_row + row) * slabs + slab]) : 0;
  };
  for (int quad = int(threadIdx.x); quad < kMaxQuads; quad += kWorkers) walk.groups[quad] = 0;
  for (int row = int(threadIdx.x); row < block.rows; row += kWorkers) {
    walk.taken[row] = walk.due[row] = walk.resident[row] = 0;
    for (int slab = 0; slab < SlabCsrView::kResident - 1; ++slab) walk.resident[row] += in_slab(row, slab);
  }
  for (int slab = 0; slab < slabs; ++slab) {
    std::uint8_t* here = counts + index_t(slab) * block.quads();
    for (int quad = int(threadIdx.x); quad < block.quads(); quad += kWorkers) here[quad] = 0;
    for (int row = int(threadIdx.x); row < block.rows; row += kWorkers) {
      walk.due[row] += in_slab(row, slab);
      walk.resident[row] += in_slab(row, slab + SlabCsrView::kResident - 1);
    }
    __syncthreads();
    for (int quad = walk.next_quad(quads, more); quad >= 0; quad = walk.next_quad(quads, more)) {
      __syncthreads();
      if (threadIdx.x == 0) {
        ++here[quad], ++walk.groups[quad];
        for (const int row : quads.rows[quad]) {
          if (row >= 0) walk.taken[row] += min(kSteps, walk.resident[row] - walk.taken[row]);
        }
      }
      __syncthreads();
    }
    __syncthreads();
  }
  for (int quad = int(threadIdx.x); quad < quads.count; quad += kWorkers) quads.groups[quad] = walk.groups[quad];
  __syncthreads();
}

// The walk that leaves the busiest warp and all of them with least to do, and its quads dealt to the warps.
__device__ inline void choose_walk(const Block& block, const SlabCsrView& layout, const std::uint64_t* slab_bits,
                                   Quads& quads, std::uint8_t* counts, int* slot_of) {
  constexpr int kStep = 2;                          // of how much more quads must find
  const int last = block.rows <= kFewRows ? 4 : 0;  // that is tried
  const auto walk = [&](int more) {
    walk_slabs(block, layout, slab_bits, more, quads, counts);
    deal_quads(block, quads, slot_of);
    int groups = 0;
    for (int quad = 0; quad < quads.count; ++quad) groups += quads.groups[quad];
    return even_out(block, quads, slot_of) * block.warps + groups;
  };
  int best = 0, least = INT32_MAX;
  for (int more = 0; more <= last; more += kStep) {
    const int cost = walk(more);
    if (cost < least) least = cost, best = more;
  }
  if (best != last) walk(best);
}

// Numbers the parts of each row, in the order of their places. One thread.
__device__ inline void number_parts(const Block& block, const SlabCsrView& layout, std::int32_t* place_of,
                                    const SlabCsrOrder& order) {
  const int places = int(layout.block_places());
  const index_t first = index_t(blockIdx.x) * places;
  int part = 0;
  for (int row = 0; row < block.rows; ++row) {
    const int first_part = part;
    for (int place = 0; place < places; ++place) {
      if (order.row_of[first + place] != block.first_row + row) continue;
      order.part_of[first + place] = std::uint16_t(part), place_of[first + part] = place;
      ++part;
    }
    order.parts[block.first_row + row] = unsigned(first_part) | unsigned(part - first_part) << 16;
  }
}

// Puts the quads into their slots: what stands where, and the counts.
__device__ inline void place_quads(const Block& block, const SlabCsrView& layout, const Quads& quads,
                                   const int* slot_of, const std::uint8_t* walked, const SlabCsrOrder& order,
                                   std::uint8_t* counts, std::int32_t* groups) {
  const index_t first = index_t(blockIdx.x) * block.quads();
  for (int quad = int(threadIdx.x); quad < block.quads(); quad += kWorkers) {
    const bool exists = quad < quads.count;
    const index_t slot = first + slot_of[quad];
    groups[slot + 1] = exists ? quads.groups[quad] : 0;
    for (int i = 0; i < kQuad; ++i) {
      const int row = exists ? quads.rows[quad][i] : -1;
      order.part_of[slot * kQuad + i] = SlabCsrView::kNone;
      order.row_of[slot * kQuad + i] = row < 0 ? -1 : std::int32_t(block.first_row + row);
    }
    for (index_t slab = 0; slab < layout.slabs(); ++slab) {
      counts[slab_csr_count_at(layout, slot, slab)] = walked[slab * block.quads() + quad];
    }
  }
  if (blockIdx.x > 0 || threadIdx.x > 0) return;
  groups[0] = 0;
  const index_t words = layout.count_words();
  for (index_t i = 4 * (words - 1); i < 4 * words; ++i) counts[i] = 0;
}

__global__ void form_quads_kernel(CsrView csr, SlabCsrView layout, SlabCsrScratch scratch, SlabCsrOrder order,
                                  std::uint8_t* __restrict__ counts, std::int32_t* __restrict__ groups) {
  __shared__ int lengths[kMaxPlaces], left[kMaxPlaces], slot_of[kMaxQuads];
  __shared__ Quads quads;
  const Block block(layout);
  std::uint8_t* walked = scratch.walked + index_t(blockIdx.x) * block.quads() * layout.slabs();
  for (int row = int(threadIdx.x); row < block.rows; row += kWorkers) {
    lengths[row] = csr.row_offsets[block.first_row + row + 1] - csr.row_offsets[block.first_row + row];
  }
  __syncthreads();
  choose_quads(block, lengths, left, slot_of, quads);
  choose_walk(block, layout, scratch.slab_bits, quads, walked, slot_of);
  place_quads(block, layout, quads, slot_of, walked, order, counts, groups);
  __syncthreads();
  if (threadIdx.x == 0) number_parts(block, layout, scratch.place_of, order);
}

}  // namespace

void slab_csr_form_quads(const CsrView& csr, const SlabCsrView& layout, const SlabCsrScratch& scratch,
                         const SlabCsrOrder& order, std::uint8_t* counts, std::int32_t* groups, cudaStream_t stream) {
  simt::launch(form_quads_kernel, {dim3(unsigned(layout.blocks)), dim3(kWorkers), 0, stream}, csr, layout, scratch,
               order, counts, groups);
}

}  // namespace espalier::kernels
