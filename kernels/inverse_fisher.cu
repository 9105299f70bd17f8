// Rank-one updates of block-wise inverse Fisher information; formulae and cost in inverse_fisher.h.
#include "kernels/inverse_fisher.h"

#include "kernels/grid.h"
#include "kernels/require.h"

namespace espalier::kernels {
namespace {

__global__ void begin_inverse_fisher_kernel(index_t elements, float diagonal, float* inverse) {
  for_each_element(elements, [=](index_t e) {
    const index_t in_run = e % (kFisherRun * kFisherRun);
    inverse[e] = in_run / kFisherRun == in_run % kFisherRun ? diagonal : 0.0f;
  });
}

// The weights of the run that weight i is in: the last run may be shorter.
struct Run {
  index_t first, length;
  __device__ Run(index_t count, index_t i) : first(i / kFisherRun * kFisherRun) {
    length = count - first < kFisherRun ? count - first : kFisherRun;
  }
};

// product = F^-1 g. F^-1 is symmetric: thread i goes down column i, so that neighbours read neighbours.
__global__ void fisher_product_kernel(index_t count, const float* __restrict__ gradient,
                                      const float* __restrict__ inverse, float* __restrict__ product) {
  for_each_element(count, [=](index_t i) {
    const Run run(count, i);
    const float* const column = inverse + run.first * kFisherRun + (i - run.first);
    float sum = 0;
    for (index_t j = 0; j < run.length; ++j) sum += column[j * kFisherRun] * gradient[run.first + j];
    product[i] = sum;
  });
}

__global__ void update_inverse_fisher_kernel(index_t count, float samples, const float* __restrict__ gradient,
                                             const float* __restrict__ product, float* __restrict__ inverse) {
  for_each_element(count, [=](index_t i) {
    const Run run(count, i);
    float denominator = samples;
    for (index_t j = run.first; j < run.first + run.length; ++j) denominator += gradient[j] * product[j];
    float* const column = inverse + run.first * kFisherRun + (i - run.first);
    const float mine = product[i];
    for (index_t j = 0; j < run.length; ++j) {  // v_j v_i before the division: it stays symmetric bit for bit
      column[j * kFisherRun] -= product[run.first + j] * mine / denominator;
    }
  });
}

__global__ void obs_scores_kernel(index_t count, const float* __restrict__ weight, const float* __restrict__ inverse,
                                  float* __restrict__ score) {
  for_each_element(count, [=](index_t i) {
    const index_t in_run = i % kFisherRun;
    const float diagonal = inverse[(i - in_run) * kFisherRun + in_run * kFisherRun + in_run];
    score[i] = weight[i] * weight[i] / (2.0f * diagonal);
  });
}

}  // namespace

void begin_inverse_fisher(index_t count, float damping, float* inverse, cudaStream_t stream) {
  require(damping > 0.0f, "begin_inverse_fisher: damping is ", damping, "; it must be above 0");
  const index_t elements = fisher_runs(count) * kFisherRun * kFisherRun;
  if (elements == 0) return;
  simt::launch(begin_inverse_fisher_kernel, elements_grid(elements, stream), elements, 1.0f / damping, inverse);
}

void add_to_inverse_fisher(index_t count, index_t samples, const float* gradient, float* product, float* inverse,
                           cudaStream_t stream) {
  require(samples >= 1, "add_to_inverse_fisher: ", samples, " samples");
  if (count == 0) return;
  const simt::Launch grid = elements_grid(count, stream);
  simt::launch(fisher_product_kernel, grid, count, gradient, inverse, product);
  simt::launch(update_inverse_fisher_kernel, grid, count, float(samples), gradient, product, inverse);
}

void obs_scores(index_t count, const float* weight, const float* inverse, float* score, cudaStream_t stream) {
  if (count > 0) simt::launch(obs_scores_kernel, elements_grid(count, stream), count, weight, inverse, score);
}

}  // namespace espalier::kernels
