// The activations and their derivatives in double, from the mathematical definitions.
#pragma once
#include <cmath>
#include <numbers>

#include "kernels/activation.h"

namespace espalier::test {

inline double activation_reference(kernels::Activation activation, double x, double slope) {
  switch (activation) {
    case kernels::Activation::none:
      return x;
    case kernels::Activation::relu:
      return std::isnan(x) ? x : std::max(x, 0.0);
    case kernels::Activation::leaky_relu:
      return x > 0 ? x : slope * x;
    case kernels::Activation::gelu:
      return 0.5 * x * std::erfc(-x / std::numbers::sqrt2);
    case kernels::Activation::sigmoid:
      return 1 / (1 + std::exp(-x));
    case kernels::Activation::tanh:
      return std::tanh(x);
  }
  return NAN;
}

// dy / dx at x; the left derivative at the kinks.
inline double activation_derivative_reference(kernels::Activation activation, double x, double slope) {
  const double sigmoid = 1 / (1 + std::exp(-x)), tanh = std::tanh(x);
  switch (activation) {
    case kernels::Activation::none:
      return 1;
    case kernels::Activation::relu:
      return x > 0 ? 1 : 0;
    case kernels::Activation::leaky_relu:
      return x > 0 ? 1 : slope;
    case kernels::Activation::gelu:
      return 0.5 * std::erfc(-x / std::numbers::sqrt2) + x * std::exp(-x * x / 2) / std::sqrt(2 * std::numbers::pi);
    case kernels::Activation::sigmoid:
      return sigmoid * (1 - sigmoid);
    case kernels::Activation::tanh:
      return 1 - tanh * tanh;
  }
  return NAN;
}

}  // namespace espalier::test
