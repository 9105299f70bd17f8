// First values of weights: drawn on the host (once, small), so that a seed means the same weights on every device.
#pragma once
#include <cstdint>

#include "core/tensor/tensor.h"

namespace espalier {

enum class Nonlinearity { linear, relu, leaky_relu, tanh };

// Fan-in of a weight [out, in, ...]: the product of all extents but the first.
std::int64_t fan_in(const Shape& weight);
std::int64_t fan_out(const Shape& weight);

// He et al. 2015, arXiv 1502.01852: uniform in +- gain * sqrt(3 / fan_in).
Tensor kaiming_uniform(Shape weight, std::uint64_t seed, Nonlinearity nonlinearity = Nonlinearity::relu);
Tensor kaiming_normal(Shape weight, std::uint64_t seed, Nonlinearity nonlinearity = Nonlinearity::relu);
// Glorot and Bengio 2010: uniform in +- gain * sqrt(6 / (fan_in + fan_out)).
Tensor xavier_uniform(Shape weight, std::uint64_t seed, Nonlinearity nonlinearity = Nonlinearity::linear);

}  // namespace espalier
