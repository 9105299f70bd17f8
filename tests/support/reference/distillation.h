// Plain loops in double: the loss of a pupil that learns from labels and teachers, and its gradient.
#pragma once
#include "tests/support/reference/softmax.h"

namespace espalier::test {

inline CrossEntropyInDouble distillation_reference(const kernels::MatrixShape& shape, double temperature, double weight,
                                                   const std::vector<float>& x, const std::vector<std::int32_t>& labels,
                                                   const std::vector<std::vector<float>>& teachers) {
  const auto softened = [&](const std::vector<float>& logits) {
    std::vector<double> probability;
    for (std::int64_t row = 0; row < shape.rows; ++row) {
      const float* begin = logits.data() + row * shape.columns;
      const double most = *std::max_element(begin, begin + shape.columns);
      double sum = 0;
      for (std::int64_t c = 0; c < shape.columns; ++c) sum += std::exp((begin[c] - most) / temperature);
      for (std::int64_t c = 0; c < shape.columns; ++c) {
        probability.push_back(std::exp((begin[c] - most) / temperature) / sum);
      }
    }
    return probability;
  };
  CrossEntropyInDouble result = cross_entropy_reference(shape, 0, x, labels);
  result.loss *= 1 - weight;
  const std::vector<double> own = softened(x);
  std::vector<double> mean(own.size());
  for (const std::vector<float>& teacher : teachers) {
    const std::vector<double> one = softened(teacher);
    for (std::size_t i = 0; i < one.size(); ++i) mean[i] += one[i] / double(teachers.size());
  }
  for (std::size_t i = 0; i < own.size(); ++i) {
    const double rows = double(shape.rows);
    result.loss += weight * temperature * temperature * mean[i] * std::log(mean[i] / own[i]) / rows;
    result.dlogits[i] = (1 - weight) * result.dlogits[i] + weight * temperature * (own[i] - mean[i]) / rows;
  }
  return result;
}

}  // namespace espalier::test
