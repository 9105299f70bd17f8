// Sparse weights that tests draw, and the product with them in double: dense with zeros is the oracle.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include "kernels/activation.h"
#include "tests/support/close.h"
#include "tests/support/guarded_buffer.h"

namespace espalier::test {

// [rows, columns], each element zero with probability `sparsity`; values in [-1, 1), never zero by chance.
inline std::vector<float> sparse_weight(std::int64_t rows, std::int64_t columns, double sparsity, unsigned seed) {
  std::mt19937 engine(seed);
  std::vector<float> weight(std::size_t(rows * columns));
  for (float& value : weight) {
    const bool kept = double(engine() >> 8) * 0x1p-24 >= sparsity;
    const float magnitude = 0.01f + 0.99f * float(engine() >> 8) * 0x1p-24f;
    value = !kept ? 0.0f : engine() & 1 ? magnitude : -magnitude;
  }
  return weight;
}

// The same with its first row empty and its last row full.
inline std::vector<float> uneven_weight(std::int64_t rows, std::int64_t columns, double sparsity, unsigned seed) {
  std::vector<float> weight = sparse_weight(rows, columns, sparsity, seed);
  std::fill(weight.end() - columns, weight.end(), 0.5f);
  std::fill(weight.begin(), weight.begin() + columns, 0.0f);
  return weight;
}

// Keeps the first two nonzeros of every four neighbours of a row.
inline void obey_two_four(std::vector<float>& weight, std::int64_t columns) {
  for (std::size_t row = 0; row < weight.size(); row += std::size_t(columns)) {
    for (std::int64_t c = 0, kept = 0; c < columns; ++c) {
      if (c % 4 == 0) kept = 0;
      if (weight[row + std::size_t(c)] != 0.0f && kept++ >= 2) weight[row + std::size_t(c)] = 0.0f;
    }
  }
}

inline double reference_activation(kernels::Activation activation, double x) {
  using kernels::Activation;
  switch (activation) {
    case Activation::none:
      return x;
    case Activation::relu:
      return x <= 0 ? 0 : x;
    case Activation::leaky_relu:
      return x <= 0 ? 0.01 * x : x;
    case Activation::gelu:
      return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0)));
    case Activation::sigmoid:
      return 1 / (1 + std::exp(-x));
    case Activation::tanh:
      return std::tanh(x);
  }
  return x;
}

// y [batch, rows] = activation(x [batch, columns] * weight^T + bias); an empty bias is none.
inline std::vector<double> reference_linear(std::int64_t batch, std::int64_t rows, std::int64_t columns,
                                            const std::vector<float>& x, const std::vector<float>& weight,
                                            const std::vector<float>& bias, kernels::Activation activation) {
  std::vector<double> y(std::size_t(batch * rows));
  for (std::int64_t b = 0; b < batch; ++b) {
    for (std::int64_t r = 0; r < rows; ++r) {
      double sum = bias.empty() ? 0.0 : double(bias[std::size_t(r)]);
      for (std::int64_t c = 0; c < columns; ++c) {
        sum += double(x[std::size_t(b * columns + c)]) * double(weight[std::size_t(r * columns + c)]);
      }
      y[std::size_t(b * rows + r)] = reference_activation(activation, sum);
    }
  }
  return y;
}

// Rounding of a sum of `terms` products of numbers up to 1, with room for any order of summation.
inline double sum_tolerance(std::int64_t terms) { return 6e-8 * double(terms + 4); }

}  // namespace espalier::test
