// Philox fills and dropout; random.h says which word belongs to which element.
#include "kernels/random.h"

#include "kernels/random_elements.h"
#include "kernels/require.h"

namespace espalier::kernels {
namespace {

__global__ void fill_uniform_kernel(index_t units, index_t count, RandomStream random, float low, float range,
                                    float* __restrict__ out) {
  for_each_random(
      units, count, random,
      [=](PhiloxWords words) {
        return Four<float>{low + range * uniform_from(words.word[0]), low + range * uniform_from(words.word[1]),
                           low + range * uniform_from(words.word[2]), low + range * uniform_from(words.word[3])};
      },
      [=](index_t i, float value) { out[i] = value; });
}

__global__ void fill_normal_kernel(index_t units, index_t count, RandomStream random, float mean, float deviation,
                                   float* __restrict__ out) {
  for_each_random(
      units, count, random, [](PhiloxWords words) { return four_normals(words); },
      [=](index_t i, float value) { out[i] = mean + deviation * value; });
}

// A word is kept when it is below the threshold: probability * 2^32, as 64 bits so that 1 keeps every word.
std::uint64_t keep_threshold(double probability) { return std::uint64_t(probability * 0x1p32); }

__device__ inline Four<std::uint8_t> keep_from(PhiloxWords words, std::uint64_t threshold) {
  const auto keep = [=](std::uint32_t word) { return std::uint8_t(word < threshold ? 1 : 0); };
  return {keep(words.word[0]), keep(words.word[1]), keep(words.word[2]), keep(words.word[3])};
}

__global__ void bernoulli_kernel(index_t units, index_t count, RandomStream random, std::uint64_t threshold,
                                 std::uint8_t* __restrict__ out) {
  for_each_random(
      units, count, random, [=](PhiloxWords words) { return keep_from(words, threshold); },
      [=](index_t i, std::uint8_t keep) { out[i] = keep; });
}

__global__ void dropout_forward_kernel(index_t units, index_t count, std::uint64_t seed, const std::int64_t* step,
                                       std::uint64_t threshold, float scale, const float* x, float* y,
                                       std::uint8_t* __restrict__ out) {
  for_each_random(
      units, count, RandomStream{seed, std::uint64_t(*step)},
      [=](PhiloxWords words) { return keep_from(words, threshold); },
      [=](index_t i, std::uint8_t keep) {
        y[i] = keep != 0 ? scale * x[i] : 0.0f;
        out[i] = keep;
      });
}

__global__ void dropout_backward_kernel(index_t count, float scale, const std::uint8_t* __restrict__ keep,
                                        const float* dy, float* dx) {
  for_each_element(count, [=](index_t i) { dx[i] = keep[i] != 0 ? scale * dy[i] : 0.0f; });
}

__global__ void increment_counter_kernel(std::int64_t* counter) { *counter += 1; }

void check_probability(const char* who, double probability) {
  require(probability >= 0 && probability <= 1, who, ": probability is ", probability, "; give one in [0, 1]");
}

float dropout_scale(const Dropout& dropout) {
  check_probability("dropout", dropout.probability);
  return dropout.probability < 1 ? float(1 / (1 - dropout.probability)) : 0.0f;  // at 1 nothing is left to scale
}

}  // namespace

void fill_uniform(index_t count, RandomStream random, float low, float high, float* out, cudaStream_t stream) {
  require(low <= high, "fill_uniform: low ", low, " is above high ", high, "; swap them");
  if (count == 0) return;
  simt::launch(fill_uniform_kernel, elements_grid(random_units(count), stream), random_units(count), count, random, low,
               high - low, out);
}

void fill_normal(index_t count, RandomStream random, float mean, float deviation, float* out, cudaStream_t stream) {
  require(deviation >= 0, "fill_normal: deviation is ", deviation, "; give one >= 0");
  if (count == 0) return;
  simt::launch(fill_normal_kernel, elements_grid(random_units(count), stream), random_units(count), count, random, mean,
               deviation, out);
}

void bernoulli(index_t count, RandomStream random, double keep_probability, std::uint8_t* keep, cudaStream_t stream) {
  check_probability("bernoulli", keep_probability);
  if (count == 0) return;
  simt::launch(bernoulli_kernel, elements_grid(random_units(count), stream), random_units(count), count, random,
               keep_threshold(keep_probability), keep);
}

void dropout_forward(index_t count, Dropout dropout, const std::int64_t* step, const float* x, float* y,
                     std::uint8_t* keep, cudaStream_t stream) {
  const float scale = dropout_scale(dropout);
  if (count == 0) return;
  simt::launch(dropout_forward_kernel, elements_grid(random_units(count), stream), random_units(count), count,
               dropout.seed, step, keep_threshold(1 - dropout.probability), scale, x, y, keep);
}

void dropout_backward(index_t count, Dropout dropout, const std::uint8_t* keep, const float* dy, float* dx,
                      cudaStream_t stream) {
  const float scale = dropout_scale(dropout);
  if (count == 0) return;
  simt::launch(dropout_backward_kernel, elements_grid(count, stream), count, scale, keep, dy, dx);
}

void increment_counter(std::int64_t* counter, cudaStream_t stream) {
  simt::launch(increment_counter_kernel, {dim3(1), dim3(1), 0, stream}, counter);
}

}  // namespace espalier::kernels
