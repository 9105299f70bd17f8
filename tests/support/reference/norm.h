// Plain loops in double: normalisation of groups of elements, forward and backward. Batch norm groups by channel, layer
// norm by row; which group and which parameter an element belongs to is all that differs.
#pragma once
#include <cmath>
#include <vector>

#include "kernels/shapes.h"

namespace espalier::test {

struct NormGroups {
  std::vector<std::size_t> group, parameter;  // of each element
  std::size_t groups = 0, parameters = 0;
};

inline NormGroups batch_norm_groups(const kernels::PlanesShape& shape) {
  NormGroups of{{}, {}, std::size_t(shape.channels), std::size_t(shape.channels)};
  for (std::int64_t i = 0; i < shape.size(); ++i) of.group.push_back(std::size_t(i / shape.area % shape.channels));
  of.parameter = of.group;
  return of;
}

inline NormGroups layer_norm_groups(const kernels::MatrixShape& shape) {
  NormGroups of{{}, {}, std::size_t(shape.rows), std::size_t(shape.columns)};
  for (std::int64_t i = 0; i < shape.size(); ++i) {
    of.group.push_back(std::size_t(i / shape.columns));
    of.parameter.push_back(std::size_t(i % shape.columns));
  }
  return of;
}

struct NormInDouble {
  std::vector<double> mean, variance, inverse, count;  // [groups]; variance over the count
  std::vector<double> y, dx, dgamma, dbeta;
};

inline void take_moments(const NormGroups& of, double epsilon, const std::vector<float>& x, NormInDouble& result) {
  for (auto* values : {&result.mean, &result.variance, &result.inverse, &result.count}) values->assign(of.groups, 0.0);
  for (std::size_t i = 0; i < x.size(); ++i) {
    result.mean[of.group[i]] += x[i];
    result.count[of.group[i]] += 1;
  }
  for (std::size_t g = 0; g < of.groups; ++g) result.mean[g] /= result.count[g];
  for (std::size_t i = 0; i < x.size(); ++i) {
    result.variance[of.group[i]] += std::pow(x[i] - result.mean[of.group[i]], 2) / result.count[of.group[i]];
  }
  for (std::size_t g = 0; g < of.groups; ++g) result.inverse[g] = 1 / std::sqrt(result.variance[g] + epsilon);
}

// Needs mean and inverse of `result`; constant_statistics leaves out the gradient that flows through them.
inline void norm_reference(const NormGroups& of, bool constant_statistics, const std::vector<float>& x,
                           const std::vector<float>& gamma, const std::vector<float>& beta,
                           const std::vector<float>& dy, NormInDouble& result) {
  result.y.assign(x.size(), 0.0);
  result.dx.assign(x.size(), 0.0);
  result.dgamma.assign(of.parameters, 0.0);
  result.dbeta.assign(of.parameters, 0.0);
  std::vector<double> sum(of.groups), product(of.groups), normalised(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) {
    const std::size_t g = of.group[i], p = of.parameter[i];
    normalised[i] = (x[i] - result.mean[g]) * result.inverse[g];
    result.y[i] = normalised[i] * gamma[p] + beta[p];
    result.dgamma[p] += dy[i] * normalised[i];
    result.dbeta[p] += dy[i];
    sum[g] += double(dy[i]) * gamma[p];
    product[g] += double(dy[i]) * gamma[p] * normalised[i];
  }
  for (std::size_t i = 0; i < x.size(); ++i) {
    const std::size_t g = of.group[i];
    const double through = constant_statistics ? 0 : (sum[g] + normalised[i] * product[g]) / result.count[g];
    result.dx[i] = result.inverse[g] * (double(dy[i]) * gamma[of.parameter[i]] - through);
  }
}

}  // namespace espalier::test
