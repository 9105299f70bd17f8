// Sparse variational dropout, one thread per weight or output; formulae and cost in variational.h.
#include "kernels/variational.h"

#include "kernels/activation_math.h"
#include "kernels/random_elements.h"

namespace espalier::kernels {
namespace {

constexpr float kSmallestSquare = 1e-8f;  // keeps logarithms and roots finite, as the authors' code does

__device__ inline bool lives(const VariationalWeight& of, index_t i) { return of.keep == nullptr || of.keep[i] != 0; }

__global__ void weight_variance_kernel(VariationalWeight of, float* __restrict__ variance) {
  for_each_element(of.count, [=](index_t i) { variance[i] = lives(of, i) ? exponential(of.log_variance[i]) : 0.0f; });
}

// d KL / d log alpha
__device__ inline float penalty_slope(float log_alpha) {
  return -0.63576f * 1.48695f * sigmoid_slope(1.87320f + 1.48695f * log_alpha) -
         0.5f * activate<Activation::sigmoid>(-log_alpha);
}

__global__ void variational_gradients_kernel(VariationalWeight of, const float* __restrict__ variance_gradient,
                                             const float* __restrict__ strength, float* __restrict__ mean_gradient,
                                             float* __restrict__ log_variance_gradient) {
  const float weight_of_penalty = *strength;
  for_each_element(of.count, [=](index_t i) {
    const float mean = of.mean[i], square = mean * mean + kSmallestSquare, log_variance = of.log_variance[i];
    const float pull = weight_of_penalty * penalty_slope(log_variance - natural_logarithm(square));
    const float slope = variance_gradient[i] * exponential(log_variance) + pull;
    mean_gradient[i] = lives(of, i) ? -2.0f * pull * mean / square : 0.0f;
    log_variance_gradient[i] = lives(of, i) ? slope : 0.0f;
  });
}

__global__ void signal_to_noise_kernel(VariationalWeight of, float* __restrict__ score) {
  for_each_element(of.count, [=](index_t i) {
    score[i] = lives(of, i) ? fabsf(of.mean[i]) * exponential(-0.5f * of.log_variance[i]) : 0.0f;
  });
}

__global__ void add_gaussian_noise_kernel(index_t units, index_t count, std::uint64_t seed,
                                          const std::int64_t* __restrict__ step, const float* mean,
                                          const float* variance, float* y, float* slope) {
  for_each_random(
      units, count, RandomStream{seed, std::uint64_t(*step)}, [](PhiloxWords words) { return four_normals(words); },
      [=](index_t i, float normal) {
        const float deviation = sqrtf(variance[i] + kSmallestSquare);
        y[i] = mean[i] + deviation * normal;
        slope[i] = 0.5f * normal / deviation;
      });
}

__global__ void square_backward_kernel(index_t count, const float* __restrict__ x, const float* dy, float* dx) {
  for_each_element(count, [=](index_t i) { dx[i] = 2.0f * x[i] * dy[i]; });
}

}  // namespace

void weight_variance(const VariationalWeight& weight, float* variance, cudaStream_t stream) {
  if (weight.count == 0) return;
  simt::launch(weight_variance_kernel, elements_grid(weight.count, stream), weight, variance);
}

void variational_gradients(const VariationalWeight& weight, const float* variance_gradient, const float* strength,
                           float* mean_gradient, float* log_variance_gradient, cudaStream_t stream) {
  if (weight.count == 0) return;
  simt::launch(variational_gradients_kernel, elements_grid(weight.count, stream), weight, variance_gradient, strength,
               mean_gradient, log_variance_gradient);
}

void signal_to_noise(const VariationalWeight& weight, float* score, cudaStream_t stream) {
  if (weight.count == 0) return;
  simt::launch(signal_to_noise_kernel, elements_grid(weight.count, stream), weight, score);
}

void add_gaussian_noise(index_t count, std::uint64_t seed, const std::int64_t* step, const float* mean,
                        const float* variance, float* y, float* slope, cudaStream_t stream) {
  if (count == 0) return;
  simt::launch(add_gaussian_noise_kernel, elements_grid(random_units(count), stream), random_units(count), count, seed,
               step, mean, variance, y, slope);
}

void square_backward(index_t count, const float* x, const float* dy, float* dx, cudaStream_t stream) {
  if (count == 0) return;
  simt::launch(square_backward_kernel, elements_grid(count, stream), count, x, dy, dx);
}

}  // namespace espalier::kernels
