// Element-wise parts of pruning scores; formulae, sources and cost in scores.h.
#include "kernels/scores.h"

#include "kernels/grid.h"

namespace espalier::kernels {
namespace {

__global__ void accumulate_gradient_kernel(index_t count, const float* __restrict__ gradient, GradientSums sums) {
  for_each_element(count, [=](index_t i) {
    const float g = gradient[i];
    if (sums.sum) sums.sum[i] += g;
    if (sums.magnitudes) sums.magnitudes[i] += fabsf(g);
    if (sums.squares) sums.squares[i] += g * g;
  });
}

template <class Form>
__global__ void pair_scores_kernel(index_t count, float factor, const float* __restrict__ a,
                                   const float* __restrict__ b, float* __restrict__ score) {
  for_each_element(count, [=](index_t i) { score[i] = factor * Form()(a[i], b[i]); });
}

struct Product {
  __device__ float operator()(float a, float b) const { return a * b; }
};
struct Magnitude {
  __device__ float operator()(float a, float b) const { return fabsf(a * b); }
};
struct Square {
  __device__ float operator()(float a, float b) const { return a * a * b; }
};

__global__ void accumulate_movement_kernel(index_t count, const float* __restrict__ gradient,
                                           const float* __restrict__ weight, float* __restrict__ before,
                                           float* __restrict__ score) {
  for_each_element(count, [=](index_t i) {
    score[i] -= gradient[i] * before[i];
    before[i] = weight[i];
  });
}

__global__ void indicate_nonzero_kernel(index_t count, const float* x, float* y) {
  for_each_element(count, [=](index_t i) { y[i] = x[i] != 0.0f ? 1.0f : 0.0f; });
}

}  // namespace

void accumulate_gradient(index_t count, const float* gradient, const GradientSums& sums, cudaStream_t stream) {
  if (count > 0) simt::launch(accumulate_gradient_kernel, elements_grid(count, stream), count, gradient, sums);
}

void pair_scores(index_t count, ScoreForm form, float factor, const float* a, const float* b, float* score,
                 cudaStream_t stream) {
  if (count == 0) return;
  const simt::Launch grid = elements_grid(count, stream);
  switch (form) {
    case ScoreForm::product:
      return simt::launch(pair_scores_kernel<Product>, grid, count, factor, a, b, score);
    case ScoreForm::magnitude:
      return simt::launch(pair_scores_kernel<Magnitude>, grid, count, factor, a, b, score);
    case ScoreForm::square:
      return simt::launch(pair_scores_kernel<Square>, grid, count, factor, a, b, score);
  }
}

void accumulate_movement(index_t count, const float* gradient, const float* weight, float* before, float* score,
                         cudaStream_t stream) {
  if (count == 0) return;
  simt::launch(accumulate_movement_kernel, elements_grid(count, stream), count, gradient, weight, before, score);
}

void indicate_nonzero(index_t count, const float* x, float* y, cudaStream_t stream) {
  if (count > 0) simt::launch(indicate_nonzero_kernel, elements_grid(count, stream), count, x, y);
}

}  // namespace espalier::kernels
