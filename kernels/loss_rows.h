// What losses over rows of logits share: a row as its team sees it, its maximum and sum of exponentials, and the sum of
// all rows' losses in a fixed order, by whichever block comes last. Device code: include it from a .cu only.
#pragma once
#include <limits>

#include "kernels/elementary.h"
#include "kernels/last_block.h"
#include "kernels/shapes.h"
#include "kernels/warp.h"

namespace espalier::kernels {

// One row as its team sees it; a team beyond the last row has no columns, so that it still meets the others.
template <int kThreads>
struct Row {
  index_t index, columns, begin;
  bool exists;

  __device__ explicit Row(const MatrixShape& shape)
      : index(team_row<kThreads>()),
        columns(index < shape.rows ? shape.columns : 0),
        begin(index * shape.columns),
        exists(index < shape.rows) {}
};

template <int kThreads>
__device__ float row_maximum(const float* x, index_t columns) {
  constexpr float kLeast = -std::numeric_limits<float>::infinity();
  return Team<kThreads>::fold(
      0, columns, kLeast, [&](index_t i) { return x[i]; }, Max());
}

template <int kThreads>
__device__ float sum_of_exponentials(const float* x, index_t columns, float most) {
  return Team<kThreads>::sum(0, columns, [&](index_t i) { return exponential(x[i] - most); });
}

struct RowLabel {
  index_t index;
  bool valid;  // else it counts nowhere
};

// confusion [columns, columns] += 1 at (label, the row's first maximum).
template <int kThreads>
__device__ void count_prediction(const Row<kThreads>& row, const float* x, float most, RowLabel label, index_t columns,
                                 unsigned long long* confusion) {
  const int count = int(row.columns);
  const int first = Team<kThreads>::fold(
      0, count, count, [=](index_t i) { return x[i] == most ? int(i) : count; }, Min());
  const index_t predicted = first < count ? first : 0;  // a row of NaN has no maximum
  if (row.exists && label.valid && Team<kThreads>::leads()) {
    atomicAdd(&confusion[label.index * columns + predicted], 1ull);
  }
}

struct LossSums {
  float* losses;  // [rows]
  float* mean;
  double* sum;  // null: not wanted
};

// By one block: the order of summation is the same whichever block it is.
template <int kThreads>
__device__ void add_up_losses(index_t rows, const LossSums& of) {
  using Block = Team<kThreads>;
  double sum = 0;
  Block::for_each(0, rows, [&](index_t row) { sum += double(of.losses[row]); });
  sum = Block::reduce(sum, Sum());
  if (!Block::leads()) return;
  of.mean[0] = float(sum / double(rows));
  if (of.sum != nullptr) *of.sum += sum;
}

constexpr int kLossThreads = simt::kEmulated ? 1 : 128;

// By all threads of a block that has left its rows' losses behind; nothing without `arrivals`.
template <int kThreads>
__device__ void add_up_losses_in_last_block(index_t rows, const LossSums& sums, unsigned* arrivals) {
  if (arrivals == nullptr || !is_last_block(arrivals, gridDim.x)) return;
  if constexpr (simt::kEmulated) {  // one thread does it all: a block of 16 would meet in emulated shuffles
    if (threadIdx.x == 0) add_up_losses<1>(rows, sums);
  } else {
    add_up_losses<kThreads >= kLossThreads ? kThreads : kLossThreads>(rows, sums);
  }
}

template <int kThreads>
__global__ void add_up_losses_kernel(index_t rows, LossSums of) {
  add_up_losses<kThreads>(rows, of);
}

// Where the rows' launch had no `arrivals`.
inline void add_up_losses(index_t rows, const LossSums& sums, cudaStream_t stream) {
  simt::launch(add_up_losses_kernel<kLossThreads>, simt::Launch{dim3(1), dim3(kLossThreads), 0, stream}, rows, sums);
}

}  // namespace espalier::kernels
