#include "core/tensor/initialise.h"

#include <cmath>
#include <numbers>
#include <random>
#include <vector>

#include "kernels/require.h"

namespace espalier {
namespace {

// Keeps the variance of what passes through (He et al. 2015, section 2.2; tanh as in PyTorch's calculate_gain).
double gain(Nonlinearity nonlinearity) {
  switch (nonlinearity) {
    case Nonlinearity::linear:
      return 1.0;
    case Nonlinearity::relu:
      return std::numbers::sqrt2;
    case Nonlinearity::leaky_relu:
      return std::sqrt(2.0 / (1.0 + 0.01 * 0.01));
    case Nonlinearity::tanh:
      return 5.0 / 3.0;
  }
  return 1.0;
}

// Layers of different shapes draw different numbers from one seed.
std::mt19937_64 engine_for(const Shape& shape, std::uint64_t seed) {
  for (const std::int64_t extent : shape.extents()) seed = (seed ^ std::uint64_t(extent)) * 0x9E3779B97F4A7C15u;
  return std::mt19937_64(seed);
}

// In [0, 1): the standard distributions differ between libraries, the engine does not.
double uniform(std::mt19937_64& engine) { return double(engine() >> 11) * 0x1p-53; }

Tensor uniform_tensor(const Shape& shape, std::uint64_t seed, double bound) {
  std::mt19937_64 engine = engine_for(shape, seed);
  std::vector<float> values(std::size_t(shape.size()));
  for (float& value : values) value = float(bound * (2.0 * uniform(engine) - 1.0));
  return Tensor::from(shape, std::span<const float>(values));
}

}  // namespace

std::int64_t fan_in(const Shape& weight) {
  require(weight.rank() >= 2, "fan-in: weight ", weight.to_string(), " needs an output and an input axis");
  return weight.size() / weight[0];
}

std::int64_t fan_out(const Shape& weight) { return weight[0] * (fan_in(weight) / weight[1]); }

Tensor kaiming_uniform(Shape weight, std::uint64_t seed, Nonlinearity nonlinearity) {
  return uniform_tensor(weight, seed, gain(nonlinearity) * std::sqrt(3.0 / double(fan_in(weight))));
}

Tensor kaiming_normal(Shape weight, std::uint64_t seed, Nonlinearity nonlinearity) {
  std::mt19937_64 engine = engine_for(weight, seed);
  const double deviation = gain(nonlinearity) / std::sqrt(double(fan_in(weight)));
  std::vector<float> values(std::size_t(weight.size()));
  for (float& value : values) {  // Box-Muller
    const double radius = std::sqrt(-2.0 * std::log(1.0 - uniform(engine)));
    value = float(deviation * radius * std::cos(2.0 * std::numbers::pi * uniform(engine)));
  }
  return Tensor::from(weight, std::span<const float>(values));
}

Tensor xavier_uniform(Shape weight, std::uint64_t seed, Nonlinearity nonlinearity) {
  const double fans = double(fan_in(weight) + fan_out(weight));
  return uniform_tensor(weight, seed, gain(nonlinearity) * std::sqrt(6.0 / fans));
}

}  // namespace espalier
