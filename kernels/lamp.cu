// Layer-adaptive scores by a merge sort and a running sum; algorithm and cost in lamp.h.
#include "kernels/lamp.h"

#include <utility>

#include "kernels/grid.h"

namespace espalier::kernels {
namespace {

constexpr index_t kRun = 256;  // scores that one thread of the running sum takes

// How many of sorted[begin, end), which falls, stand above x: strictly, or equal ones too.
template <bool kEqualToo>
__device__ index_t count_above(const float* sorted, index_t begin, index_t end, float x) {
  const index_t first = begin;
  while (begin < end) {
    const index_t middle = (begin + end) / 2;
    const bool above = kEqualToo ? sorted[middle] >= x : sorted[middle] > x;
    if (above)
      begin = middle + 1;
    else
      end = middle;
  }
  return begin - first;
}

// Runs of `width` that fall become runs of twice the width; equals keep their order, so every place is taken once.
__global__ void merge_runs_kernel(index_t count, index_t width, const float* __restrict__ from,
                                  float* __restrict__ into) {
  for_each_element(count, [=](index_t i) {
    const index_t pair = i & ~(2 * width - 1);
    const index_t middle = pair + width < count ? pair + width : count;
    const index_t end = pair + 2 * width < count ? pair + 2 * width : count;
    const float x = from[i];
    if (i < middle)
      into[i + count_above<false>(from, middle, end, x)] = x;
    else
      into[i - width + count_above<true>(from, pair, middle, x)] = x;
  });
}

__global__ void sum_runs_kernel(index_t count, index_t runs, const float* __restrict__ sorted,
                                double* __restrict__ sums) {
  for_each_element(runs, [=](index_t run) {
    double sum = 0;
    for (index_t i = run * kRun; i < count && i < (run + 1) * kRun; ++i) sum += double(sorted[i]) * double(sorted[i]);
    sums[run] = sum;
  });
}

// One thread: sums[i] = the sum of all runs before run i.
__global__ void sums_before_kernel(index_t runs, double* sums) {
  double before = 0;
  for (index_t run = 0; run < runs; ++run) {
    const double here = sums[run];
    sums[run] = before;
    before += here;
  }
}

__global__ void sum_prefixes_kernel(index_t count, index_t runs, const float* __restrict__ sorted,
                                    const double* __restrict__ before, double* __restrict__ prefix) {
  for_each_element(runs, [=](index_t run) {
    double sum = before[run];
    for (index_t i = run * kRun; i < count && i < (run + 1) * kRun; ++i) {
      sum += double(sorted[i]) * double(sorted[i]);
      prefix[i] = sum;
    }
  });
}

__global__ void lamp_scores_kernel(index_t count, const float* __restrict__ score, const float* __restrict__ sorted,
                                   const double* __restrict__ prefix, float* __restrict__ lamp) {
  for_each_element(count, [=](index_t i) {
    const double square = double(score[i]) * double(score[i]);
    const index_t not_smaller = count_above<true>(sorted, 0, count, score[i]);
    lamp[i] = square > 0 ? float(square / prefix[not_smaller - 1]) : 0.0f;
  });
}

}  // namespace

std::size_t lamp_scores_workspace_bytes(index_t count) {
  const index_t runs = ceil_div(count, kRun);
  return std::size_t(count + runs) * sizeof(double) + 2 * std::size_t(count) * sizeof(float);
}

void lamp_scores(index_t count, const float* score, float* lamp, void* workspace, cudaStream_t stream) {
  if (count == 0) return;
  const index_t runs = ceil_div(count, kRun);
  double* const prefix = static_cast<double*>(workspace);
  double* const sums = prefix + count;
  float* into = reinterpret_cast<float*>(sums + runs);
  float* spare = into + count;
  const float* sorted = score;
  for (index_t width = 1; width < count; width *= 2) {
    simt::launch(merge_runs_kernel, elements_grid(count, stream), count, width, sorted, into);
    sorted = into;
    std::swap(into, spare);
  }
  simt::launch(sum_runs_kernel, elements_grid(runs, stream), count, runs, sorted, sums);
  simt::launch(sums_before_kernel, simt::Launch{dim3(1), dim3(1), 0, stream}, runs, sums);
  simt::launch(sum_prefixes_kernel, elements_grid(runs, stream), count, runs, sorted, sums, prefix);
  simt::launch(lamp_scores_kernel, elements_grid(count, stream), count, score, sorted, prefix, lamp);
}

}  // namespace espalier::kernels
