// Hard-concrete gates: maps over gates and weights, and one team per gate for the gradient of a group.
#include "kernels/hard_concrete.h"

#include <cmath>

#include "kernels/activation_math.h"
#include "kernels/random_elements.h"
#include "kernels/require.h"
#include "kernels/warp.h"

namespace espalier::kernels {
namespace {

__device__ inline float sigmoid(float x) { return activate<Activation::sigmoid>(x); }

__device__ inline float clipped(float x) { return x <= 0.0f ? 0.0f : x >= 1.0f ? 1.0f : x; }  // NaN stays

// log(u / (1 - u)) for odd multiples of 2^-24 in (0, 1): u and 1 - u are exact, and neither is 0.
__device__ inline float logit_from(std::uint32_t word) {
  const float u = (float(std::int32_t(word >> 9)) + 0.5f) * 0x1p-23f;
  return natural_logarithm(u) - natural_logarithm(1.0f - u);
}

__global__ void draw_gates_kernel(index_t units, index_t gates, HardConcrete shape, std::uint64_t seed,
                                  const std::int64_t* __restrict__ step, const float* __restrict__ log_alpha,
                                  float* __restrict__ gate, float* __restrict__ slope) {
  const float stretch = shape.high - shape.low, inverse = 1.0f / shape.temperature;
  for_each_random(
      units, gates, RandomStream{seed, std::uint64_t(*step)},
      [](PhiloxWords words) {
        return Four<float>{logit_from(words.word[0]), logit_from(words.word[1]), logit_from(words.word[2]),
                           logit_from(words.word[3])};
      },
      [=](index_t i, float logit) {
        const float s = sigmoid((logit + log_alpha[i]) * inverse), stretched = shape.low + stretch * s;
        gate[i] = clipped(stretched);
        slope[i] = stretched > 0.0f && stretched < 1.0f ? stretch * s * (1.0f - s) * inverse : 0.0f;
      });
}

__global__ void expected_gates_kernel(index_t gates, HardConcrete shape, const float* __restrict__ log_alpha,
                                      float* __restrict__ gate) {
  for_each_element(gates,
                   [=](index_t i) { gate[i] = clipped(shape.low + (shape.high - shape.low) * sigmoid(log_alpha[i])); });
}

// A gate of 0 gives +0 whatever the weight's sign is.
__device__ inline float gated_by(float gate, float weight) { return gate == 0.0f ? 0.0f : gate * weight; }

__global__ void gate_each_kernel(index_t count, const float* __restrict__ gate, const float* weight, float* gated) {
  for_each_element(count, [=](index_t i) { gated[i] = gated_by(gate[i], weight[i]); });
}

__global__ void gate_groups_kernel(PlanesShape shape, const float* __restrict__ gate, const float* weight,
                                   float* gated) {
  for_each_element(shape.size(),
                   [=](index_t i) { gated[i] = gated_by(gate[i / shape.area % shape.channels], weight[i]); });
}

// d (strength * P(gate != 0)) / d log_alpha, of one weight; `offset` is -temperature log(-low / high).
__device__ inline float penalty_slope(float strength, float log_alpha, float offset) {
  return strength * sigmoid_slope(log_alpha + offset);
}

__global__ void gate_each_gradients_kernel(index_t count, float offset, const float* __restrict__ gate,
                                           const float* __restrict__ slope, const float* __restrict__ log_alpha,
                                           const float* __restrict__ weight, const float* __restrict__ gated,
                                           const float* __restrict__ strength, GateGradients gradients) {
  const float penalty = *strength;
  float *const of_weight = gradients.weight, *const of_log_alpha = gradients.log_alpha;
  for_each_element(count, [=](index_t i) {
    of_log_alpha[i] = slope[i] * gated[i] * weight[i] + penalty_slope(penalty, log_alpha[i], offset);
    of_weight[i] = gate[i] * gated[i];
  });
}

template <int kThreads>
__global__ void gate_group_gradients_kernel(PlanesShape shape, float offset, const float* __restrict__ gate,
                                            const float* __restrict__ slope, const float* __restrict__ log_alpha,
                                            const float* __restrict__ weight, const float* __restrict__ gated,
                                            const float* __restrict__ strength, GateGradients gradients) {
  using Group = Team<kThreads>;
  const index_t row = team_row<kThreads>();
  const bool exists = row < shape.channels;
  const index_t group = exists ? row : 0, area = exists ? shape.area : 0;  // the last teams still meet in shuffles
  const index_t pitch = shape.channels * shape.area;
  const float factor = gate[group];
  float products[kAccumulators] = {};
  for (index_t plane = 0; plane < shape.batch; ++plane) {
    const index_t begin = plane * pitch + group * shape.area;
    Group::accumulate(
        begin, begin + area, products, [=](index_t i) { return weight[i] * gated[i]; }, Sum());
    Group::for_each(begin, begin + area, [=](index_t i) { gradients.weight[i] = factor * gated[i]; });
  }
  const float sum = Group::reduce(combine_accumulators(products, Sum()), Sum());
  if (exists && Group::leads()) {
    gradients.log_alpha[group] =
        slope[group] * sum + penalty_slope(*strength * float(shape.per_channel()), log_alpha[group], offset);
  }
}

void require_possible(const HardConcrete& shape) {
  require(shape.temperature > 0.0f && shape.low < 0.0f && shape.high > 1.0f, "hard concrete: temperature ",
          shape.temperature, ", stretched to (", shape.low, ", ", shape.high,
          "); it must be above 0, and the interval hold [0, 1]");
}

}  // namespace

void draw_gates(index_t gates, const HardConcrete& shape, std::uint64_t seed, const std::int64_t* step,
                const float* log_alpha, float* gate, float* slope, cudaStream_t stream) {
  require_possible(shape);
  if (gates == 0) return;
  simt::launch(draw_gates_kernel, elements_grid(random_units(gates), stream), random_units(gates), gates, shape, seed,
               step, log_alpha, gate, slope);
}

void expected_gates(index_t gates, const HardConcrete& shape, const float* log_alpha, float* gate,
                    cudaStream_t stream) {
  require_possible(shape);
  if (gates == 0) return;
  simt::launch(expected_gates_kernel, elements_grid(gates, stream), gates, shape, log_alpha, gate);
}

void gate_weights(const PlanesShape& shape, const float* gate, const float* weight, float* gated, cudaStream_t stream) {
  const simt::Launch grid = elements_grid(shape.size(), stream);
  if (shape.size() == 0) return;
  if (shape.per_channel() == 1) return simt::launch(gate_each_kernel, grid, shape.size(), gate, weight, gated);
  simt::launch(gate_groups_kernel, grid, shape, gate, weight, gated);
}

void gate_gradients(const PlanesShape& shape, const HardConcrete& gates, const float* gate, const float* slope,
                    const float* log_alpha, const float* weight, const float* gated, const float* strength,
                    const GateGradients& gradients, cudaStream_t stream) {
  require_possible(gates);
  const float offset = -gates.temperature * std::log(-gates.low / gates.high);
  if (shape.size() == 0) return;
  if (shape.per_channel() == 1) {
    return simt::launch(gate_each_gradients_kernel, elements_grid(shape.size(), stream), shape.size(), offset, gate,
                        slope, log_alpha, weight, gated, strength, gradients);
  }
  with_row_team(shape.area, RowTeam::automatic, [&]<int kThreads>() {
    simt::launch(gate_group_gradients_kernel<kThreads>, team_per_row<kThreads>(shape.channels, stream), shape, offset,
                 gate, slope, log_alpha, weight, gated, strength, gradients);
  });
}

}  // namespace espalier::kernels
