// Plain loops in double: reductions of channels and rows.
#pragma once
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/reduce.h"

namespace espalier::test {

struct ReducedInDouble {
  std::vector<double> value;      // [channels]
  std::vector<double> magnitude;  // sum of |terms|: what rounding errors are relative to
};

inline ReducedInDouble reduce_planes_reference(const kernels::PlanesShape& shape, kernels::Reduction reduction,
                                               const std::vector<float>& x) {
  using kernels::Reduction;
  ReducedInDouble result;
  for (std::int64_t c = 0; c < shape.channels; ++c) {
    double value = reduction == Reduction::maximum ? -std::numeric_limits<double>::infinity() : 0.0, magnitude = 0;
    for (std::int64_t n = 0; n < shape.batch; ++n) {
      for (std::int64_t a = 0; a < shape.area; ++a) {
        const double element = x[std::size_t((n * shape.channels + c) * shape.area + a)];
        const double term = reduction == Reduction::sum_of_squares ? element * element : element;
        value = reduction == Reduction::maximum ? std::max(value, term) : value + term;
        magnitude += std::abs(term);
      }
    }
    const double scale = reduction == Reduction::mean ? 1.0 / double(shape.per_channel()) : 1.0;
    result.value.push_back(value * scale);
    result.magnitude.push_back(reduction == Reduction::maximum ? 0.0 : magnitude * scale);
  }
  return result;
}

}  // namespace espalier::test
