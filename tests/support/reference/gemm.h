// Plain loops in double for C = activation(alpha op(A) op(B) + beta C + bias), and how far a float result may be off.
#pragma once
#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "kernels/gemm.h"

namespace espalier::test {

inline double activation_reference(kernels::Activation activation, double x, double slope) {
  switch (activation) {
    case kernels::Activation::none:
      return x;
    case kernels::Activation::relu:
      return std::max(x, 0.0);
    case kernels::Activation::leaky_relu:
      return x > 0 ? x : slope * x;
    case kernels::Activation::gelu:
      return 0.5 * x * std::erfc(-x / std::sqrt(2.0));
    case kernels::Activation::sigmoid:
      return 1 / (1 + std::exp(-x));
    case kernels::Activation::tanh:
      return std::tanh(x);
  }
  return x;
}

struct GemmInDouble {
  std::vector<double> value, magnitude;  // magnitude: the sum of all absolute terms, to which rounding is relative
};

inline GemmInDouble gemm_reference(const kernels::GemmShape& shape, kernels::Transpose transpose_a,
                                   kernels::Transpose transpose_b, const std::vector<float>& a,
                                   const std::vector<float>& b, const std::vector<float>& c,
                                   const std::vector<float>& bias, const kernels::GemmEpilogue& epilogue) {
  const auto at = [](kernels::index_t i, kernels::index_t stride, kernels::index_t j) {
    return std::size_t(i * stride + j);
  };
  GemmInDouble result{std::vector<double>(c.size()), std::vector<double>(c.size())};
  for (kernels::index_t i = 0; i < shape.m; ++i) {
    for (kernels::index_t j = 0; j < shape.n; ++j) {
      double sum = 0, magnitude = 0;
      for (kernels::index_t k = 0; k < shape.k; ++k) {
        const double x = a[transpose_a == kernels::Transpose::no ? at(i, shape.k, k) : at(k, shape.m, i)];
        const double y = b[transpose_b == kernels::Transpose::no ? at(k, shape.n, j) : at(j, shape.k, k)];
        sum += x * y, magnitude += std::abs(x * y);
      }
      sum *= epilogue.alpha, magnitude *= std::abs(epilogue.alpha);
      if (epilogue.beta != 0) {
        sum += double(epilogue.beta) * c[at(i, shape.n, j)];
        magnitude += std::abs(double(epilogue.beta) * c[at(i, shape.n, j)]);
      }
      if (!bias.empty()) {
        const double shift = bias[std::size_t(epilogue.bias_axis == kernels::BiasAxis::row ? i : j)];
        sum += shift, magnitude += std::abs(shift);
      }
      result.value[at(i, shape.n, j)] = activation_reference(epilogue.activation, sum, epilogue.leaky_slope);
      result.magnitude[at(i, shape.n, j)] = magnitude;
    }
  }
  return result;
}

// "" when each element is within what k additions and eight more roundings may cost, else the first that is not. The
// derivative of every activation is below 1.13; their own error of a few units in the last place is below 1e-6.
inline std::string gemm_difference(const kernels::GemmShape& shape, const std::vector<float>& c,
                                   const GemmInDouble& expected) {
  const double tolerance = 1.13 * double(shape.k + 8) * 0x1p-24;
  for (std::size_t i = 0; i < c.size(); ++i) {
    const double error = std::abs(double(c[i]) - expected.value[i]);
    if (!(error <= tolerance * expected.magnitude[i] + 1e-6 * std::abs(expected.value[i]) + 1e-7)) {
      return "[" + std::to_string(i / std::size_t(shape.n)) + ", " + std::to_string(i % std::size_t(shape.n)) +
             "]: " + std::to_string(c[i]) + ", expected " + std::to_string(expected.value[i]);
    }
  }
  return "";
}

}  // namespace espalier::test
