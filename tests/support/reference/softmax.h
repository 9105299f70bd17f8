// Plain loops in double: softmax, its gradients and the cross-entropy with smoothed labels.
#pragma once
#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/shapes.h"

namespace espalier::test {

// probability [rows, columns]; log_sum [rows] = log sum exp(x)
struct SoftmaxInDouble {
  std::vector<double> probability, log_sum;
};

inline SoftmaxInDouble softmax_reference(const kernels::MatrixShape& shape, const std::vector<float>& x) {
  SoftmaxInDouble result;
  for (std::int64_t row = 0; row < shape.rows; ++row) {
    const float* begin = x.data() + row * shape.columns;
    const double most = *std::max_element(begin, begin + shape.columns);
    double sum = 0;
    for (std::int64_t c = 0; c < shape.columns; ++c) sum += std::exp(begin[c] - most);
    result.log_sum.push_back(most + std::log(sum));
    for (std::int64_t c = 0; c < shape.columns; ++c) result.probability.push_back(std::exp(begin[c] - most) / sum);
  }
  return result;
}

struct CrossEntropyInDouble {
  double loss = 0;
  std::vector<double> dlogits;
};

inline CrossEntropyInDouble cross_entropy_reference(const kernels::MatrixShape& shape, double smoothing,
                                                    const std::vector<float>& x,
                                                    const std::vector<std::int32_t>& labels) {
  const SoftmaxInDouble softmax = softmax_reference(shape, x);
  CrossEntropyInDouble result;
  for (std::int64_t row = 0; row < shape.rows; ++row) {
    const float* begin = x.data() + row * shape.columns;
    const std::int64_t label = labels[std::size_t(row)];
    for (std::int64_t c = 0; c < shape.columns; ++c) {
      const double target = smoothing / double(shape.columns) + (c == label ? 1 - smoothing : 0);
      const double probability = softmax.probability[std::size_t(row * shape.columns + c)];
      result.loss += target * (softmax.log_sum[std::size_t(row)] - begin[c]) / double(shape.rows);
      result.dlogits.push_back((probability - target) / double(shape.rows));
    }
  }
  return result;
}

}  // namespace espalier::test
