// Teams: 1, 2, 4 ... 32 lanes of a warp, or a whole block, that own one row and reduce it together. Fixed order, so
// every result is bit-equal from run to run. A reduction costs log2(32) shuffles, plus two barriers where the team is
// a block. One thread per row wins for rows of a few elements, and on a CPU always, where a shuffle is emulated and a
// thread that runs along memory is vectorised; wider teams win on a GPU, where they read coalesced.
// Device code: for .cu files only. Shuffle tree: Luitjens, Faster Parallel Reductions on Kepler, 2014.
#pragma once
#include <cstdint>

#include "kernels/grid.h"
#include "kernels/row_team.h"

namespace espalier::kernels {

constexpr unsigned kFullWarp = 0xffffffffu;
constexpr int kWarp = 32;

struct Sum {
  template <class T>
  __device__ T operator()(T a, T b) const {
    return a + b;
  }
};

// NaN wins, whichever side it is on: a maximum that hides a NaN hides a diverged run.
struct Max {
  template <class T>
  __device__ T operator()(T a, T b) const {
    return b > a || b != b ? b : a;
  }
};

struct Min {
  template <class T>
  __device__ T operator()(T a, T b) const {
    return b < a || b != b ? b : a;
  }
};

// Independent accumulators of one thread: on a GPU four loads in flight, on a CPU the lanes of four AVX-512 vectors,
// which hide the latency of the addition. Two Zen 5 cores, cross-entropy of [128, 1000]: 16 accumulators 114 us, 32
// 78 us, 64 67 us, 128 69 us; sums of [128, 64, 7x7] channels: 76, 66, 50, 49 us.
constexpr int kAccumulators = simt::kEmulated ? 64 : 4;

template <class T, class Combine>
__device__ inline T combine_accumulators(T (&accumulator)[kAccumulators], Combine combine) {
  for (int width = kAccumulators / 2; width > 0; width /= 2) {
    for (int i = 0; i < width; ++i) accumulator[i] = combine(accumulator[i], accumulator[i + width]);
  }
  return accumulator[0];
}

struct RankInTeam {
  std::uint32_t before, total;  // members with a set flag: of lower lane, and in all
};

template <int kThreads>
struct Team {
  static_assert(kThreads >= 1 && (kThreads & (kThreads - 1)) == 0, "a butterfly needs a power of two");
  static_assert(kThreads <= 1024, "a block has at most 1024 threads");

  __device__ static int lane() { return int(threadIdx.x) % kThreads; }
  __device__ static int index_in_block() { return int(threadIdx.x) / kThreads; }
  __device__ static bool leads() { return lane() == 0; }

  // The combination of the values of all team members, given to each of them. All threads of the block must call it.
  template <class T, class Combine>
  __device__ static T reduce(T value, Combine combine) {
    constexpr int kLanes = kThreads < kWarp ? kThreads : kWarp;
    for (int offset = kLanes / 2; offset > 0; offset /= 2) {
      value = combine(value, __shfl_xor_sync(kFullWarp, value, offset));
    }
    if constexpr (kThreads > kWarp) {
      constexpr int kWarps = kThreads / kWarp;
      __shared__ T of_warp[kWarps];
      __syncthreads();  // the reduction before this one has been read
      if (threadIdx.x % kWarp == 0) of_warp[threadIdx.x / kWarp] = value;
      __syncthreads();
      value = of_warp[0];
      for (int i = 1; i < kWarps; ++i) value = combine(value, of_warp[i]);
    }
    return value;
  }

  // Where this thread stands among those whose flag is set. A whole warp or block; all its threads must call it.
  __device__ static RankInTeam rank(bool flag) {
    if constexpr (kThreads == 1) {
      return {0, flag ? 1u : 0u};
    } else {
      static_assert(kThreads >= kWarp, "a ballot counts a whole warp");
      const unsigned ballot = __ballot_sync(kFullWarp, flag), lower = (1u << (threadIdx.x % kWarp)) - 1u;
      std::uint32_t before = std::uint32_t(__popc(ballot & lower)), total = std::uint32_t(__popc(ballot));
      if constexpr (kThreads > kWarp) {
        __shared__ std::uint32_t of_warp[kThreads / kWarp];
        __syncthreads();  // the ranking before this one has been read
        if (threadIdx.x % kWarp == 0) of_warp[threadIdx.x / kWarp] = total;
        __syncthreads();
        total = 0;
        for (unsigned warp = 0; warp < kThreads / kWarp; ++warp) {
          if (warp < threadIdx.x / kWarp) before += of_warp[warp];
          total += of_warp[warp];
        }
      }
      return {before, total};
    }
  }

  // Combines load(i) for begin <= i < end over the whole team.
  template <class T, class Load, class Combine>
  __device__ static T fold(index_t begin, index_t end, T identity, Load load, Combine combine) {
    if (kThreads == 1 &&
        end - begin < 16) {  // 64 accumulators cost more than the row: argmax of 10 columns 50 -> 12 ns
      for (index_t i = begin; i < end; ++i) identity = combine(identity, load(i));
      return identity;
    }
    T accumulator[kAccumulators];
    for (int k = 0; k < kAccumulators; ++k) accumulator[k] = identity;
    accumulate(begin, end, accumulator, load, combine);
    return reduce(combine_accumulators(accumulator, combine), combine);
  }

  // The part of fold() before the team meets, for callers that walk several ranges.
  template <class T, class Load, class Combine>
  __device__ static void accumulate(index_t begin, index_t end, T (&accumulator)[kAccumulators], Load load,
                                    Combine combine) {
    index_t i = begin + lane();
    for (; i + (kAccumulators - 1) * kThreads < end; i += kAccumulators * kThreads) {
      for (int k = 0; k < kAccumulators; ++k) accumulator[k] = combine(accumulator[k], load(i + k * kThreads));
    }
    if constexpr (simt::kEmulated) {
      for (int k = 0; i < end; ++k, i += kThreads) accumulator[k] = combine(accumulator[k], load(i));
    } else {  // constant indices keep the accumulators in registers
      for (int k = 0; k < kAccumulators; ++k, i += kThreads) {
        if (i < end) accumulator[k] = combine(accumulator[k], load(i));
      }
    }
  }

  // body(i) for begin <= i < end; each i meets the same thread as in fold(), so a body may read what load() stored.
  template <class Body>
  __device__ static void for_each(index_t begin, index_t end, Body body) {
    for (index_t i = begin + lane(); i < end; i += kThreads) body(i);
  }

  template <class Load>
  __device__ static float sum(index_t begin, index_t end, Load load) {
    return fold(begin, end, 0.0f, load, Sum());
  }
};

// One team per row: a block of 128 threads holds several teams, so that short rows still fill it. On a CPU blocks are
// shared out among the cores, so 16 rows of one thread each keep two cores busy from 32 rows on.
template <int kThreads>
simt::Launch team_per_row(index_t rows, cudaStream_t stream,
                          std::source_location where = std::source_location::current()) {
  constexpr int kBlock = kThreads >= 128 ? kThreads : simt::kEmulated && kThreads == 1 ? 16 : 128;
  return {dim3(unsigned(ceil_div<index_t>(rows, kBlock / kThreads))), dim3(unsigned(kBlock)), 0, stream, where};
}

// The row of this thread's team under team_per_row(); beyond the last row for the teams that fill up the last block,
// which must still meet the others in the shuffles.
template <int kThreads>
__device__ inline index_t team_row() {
  return index_t(blockIdx.x) * (blockDim.x / kThreads) + Team<kThreads>::index_in_block();
}

// Calls visit.operator()<kThreads>() with the team for rows of this length.
template <class Visit>
void with_row_team(index_t columns, RowTeam team, Visit visit) {
  if (team == RowTeam::automatic) {
    if (simt::kEmulated || columns <= 2)
      team = RowTeam::thread;
    else if (columns <= kWarp)
      team = RowTeam::octet;
    else if (columns <= 64 * kWarp)
      team = RowTeam::warp;
    else
      team = RowTeam::block;
  }
  switch (team) {
    case RowTeam::octet:
      return visit.template operator()<8>();
    case RowTeam::warp:
      return visit.template operator()<kWarp>();
    case RowTeam::block:
      return visit.template operator()<256>();
    default:
      visit.template operator()<1>();
  }
}

}  // namespace espalier::kernels
