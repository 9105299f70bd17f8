// Masks made of masks and scores; cost in keep.h. Splicing: Guo et al. 2016, arXiv 1608.04493, equation 3.
#include "kernels/keep.h"

#include "kernels/grid.h"

namespace espalier::kernels {
namespace {

__global__ void intersect_keep_kernel(index_t count, const std::uint8_t* __restrict__ other,
                                      std::uint8_t* __restrict__ keep) {
  for_each_element(count, [=](index_t i) { keep[i] = keep[i] != 0 && other[i] != 0 ? 1 : 0; });
}

__global__ void keep_at_least_kernel(index_t count, float threshold, const float* __restrict__ score,
                                     std::uint8_t* __restrict__ keep) {
  for_each_element(count, [=](index_t i) { keep[i] = score[i] >= threshold ? 1 : 0; });
}

__global__ void exalt_kept_kernel(index_t count, const std::uint8_t* __restrict__ keep, float* __restrict__ score) {
  for_each_element(count, [=](index_t i) { score[i] = keep[i] != 0 ? INFINITY : score[i]; });
}

__global__ void follow_in_shadow_kernel(index_t count, const std::uint8_t* __restrict__ keep,
                                        const float* __restrict__ weight, const float* __restrict__ gradient,
                                        float rate, float* __restrict__ shadow) {
  for_each_element(count, [=](index_t i) { shadow[i] = keep[i] != 0 ? weight[i] : shadow[i] - rate * gradient[i]; });
}

__global__ void step_out_of_shadow_kernel(index_t count, const std::uint8_t* __restrict__ before,
                                          const std::uint8_t* __restrict__ after, const float* __restrict__ shadow,
                                          float* __restrict__ weight) {
  for_each_element(count, [=](index_t i) { weight[i] = after[i] != 0 && before[i] == 0 ? shadow[i] : weight[i]; });
}

__global__ void splicing_scores_kernel(index_t count, const std::uint8_t* __restrict__ keep, float favour,
                                       const float* __restrict__ shadow, float* __restrict__ score) {
  for_each_element(count, [=](index_t i) { score[i] = fabsf(shadow[i]) * (keep[i] != 0 ? favour : 1.0f); });
}

}  // namespace

void intersect_keep(index_t count, const std::uint8_t* other, std::uint8_t* keep, cudaStream_t stream) {
  if (count > 0) simt::launch(intersect_keep_kernel, elements_grid(count, stream), count, other, keep);
}

void keep_at_least(index_t count, float threshold, const float* score, std::uint8_t* keep, cudaStream_t stream) {
  if (count > 0) simt::launch(keep_at_least_kernel, elements_grid(count, stream), count, threshold, score, keep);
}

void exalt_kept(index_t count, const std::uint8_t* keep, float* score, cudaStream_t stream) {
  if (count > 0) simt::launch(exalt_kept_kernel, elements_grid(count, stream), count, keep, score);
}

void follow_in_shadow(index_t count, const std::uint8_t* keep, const float* weight, const float* gradient, float rate,
                      float* shadow, cudaStream_t stream) {
  if (count == 0) return;
  simt::launch(follow_in_shadow_kernel, elements_grid(count, stream), count, keep, weight, gradient, rate, shadow);
}

void step_out_of_shadow(index_t count, const std::uint8_t* before, const std::uint8_t* after, const float* shadow,
                        float* weight, cudaStream_t stream) {
  if (count == 0) return;
  simt::launch(step_out_of_shadow_kernel, elements_grid(count, stream), count, before, after, shadow, weight);
}

void splicing_scores(index_t count, const std::uint8_t* keep, float favour, const float* shadow, float* score,
                     cudaStream_t stream) {
  if (count > 0) simt::launch(splicing_scores_kernel, elements_grid(count, stream), count, keep, favour, shadow, score);
}

}  // namespace espalier::kernels
