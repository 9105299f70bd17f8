// What the sparse products share: one row of a sparse weight times runs of the dense operand, and the epilogue.
// Each nonzero costs one broadcast value and index and one read of the run: 4 bytes per multiply-add, the limit of
// row-wise sparse products; a run of four floats per lane keeps the broadcasts at a third of that traffic.
#pragma once
#include "kernels/activation_math.h"
#include "kernels/simt/simt.h"
#include "kernels/simt/unrolled.h"
#include "kernels/simt/vectors.h"
#include "kernels/sparse/bias_activation.h"

namespace espalier::kernels {

// Nonzeros [next, end) of one row.
struct RowCursor {
  int next = 0, end = 0;
};

// The part of the dense operand at hand: a nonzero with index i multiplies the run at memory + (i - begin) * kScale, as
// long as i < limit.
struct DenseSlab {
  const float* memory;
  int begin, limit;
};

// Independent sums of one CPU thread: four vectors in flight cover the latency of a multiply-add.
template <class Strip>
constexpr int kChains = sizeof(Strip) >= 4 * sizeof(float) * simt::kLanes
                            ? 1
                            : int(4 * sizeof(float) * simt::kLanes / sizeof(Strip));

// sum += the row's nonzeros whose index lies below slab.limit; indices ascend. kLanes threads work together, each with
// its own `memory`. kWhole: the slab holds every index, no test is needed.
template <int kLanes, int kScale, bool kWhole, class Strip>
__device__ inline void multiply_row(const std::int32_t* __restrict__ indices, const float* __restrict__ values,
                                    const DenseSlab& slab, RowCursor& row, Strip& sum) {
  if constexpr (kLanes == 1) {
    int i = row.next;
    const auto add = [&](int at, Strip& to) {
      to.add_product(values[at], slab.memory + std::int64_t(indices[at] - slab.begin) * kScale);
    };
    if constexpr (kWhole && kChains < Strip >> 1) {  // a narrow strip waits for its own additions: sum several apart
      Strip apart[kChains<Strip>];
      for (; i + kChains<Strip> <= row.end; i += kChains<Strip>) {
        simt::unrolled<kChains<Strip>>([&](auto chain) { add(i + chain, apart[chain]); });
      }
      simt::unrolled<kChains<Strip>>([&](auto chain) { sum.add_product(1.0f, apart[chain]); });
    }
    for (; i < row.end && (kWhole || indices[i] < slab.limit); ++i) add(i, sum);
    row.next = i;
  } else {
    int count = kLanes;
    while (count == kLanes && row.next < row.end) {  // a coalesced load of 32 nonzeros, handed round by shuffles
      const int mine = row.next + int(threadIdx.x);
      const bool exists = mine < row.end;
      const int index = exists ? indices[mine] : slab.limit;
      const float value = exists ? values[mine] : 0.0f;
      count = __popc(__ballot_sync(~0u, exists && (kWhole || index < slab.limit)));
      const int offset = (index - slab.begin) * kScale;
#pragma unroll 4
      for (int i = 0; i < count; ++i) {
        sum.add_product(__shfl_sync(~0u, value, i), slab.memory + __shfl_sync(~0u, offset, i));
      }
      row.next += count;
    }
  }
}

template <class Strip>
__device__ inline void activate(Activation activation, float slope, Strip& sum) {
  if (activation == Activation::relu) {
    sum.relu();
  } else if (activation != Activation::none) {
    sum.map([&](float x) { return apply_activation(activation, x, slope); });
  }
}

// activation(sum + bias[row]) on a strip of outputs that share one row.
template <class Strip>
__device__ inline void finish(const BiasActivation& epilogue, index_t row, Strip& sum) {
  if (epilogue.bias != nullptr) sum.add(epilogue.bias[row]);
  activate(epilogue.activation, epilogue.slope, sum);
}

}  // namespace espalier::kernels
