// Pooling in plain loops over windows, in double; backward scatters where the kernels gather.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <vector>

#include "kernels/pool2d.h"

namespace espalier::test {

// visit(output index, place in the window, input index) for every element inside the image, window by window.
inline void for_each_pooled(const kernels::Pool2dShape& shape,
                            const std::function<void(std::int64_t, std::int64_t, std::int64_t)>& visit) {
  std::int64_t output = 0;
  for (std::int64_t plane = 0; plane < shape.planes; ++plane) {
    for (std::int64_t row = 0; row < shape.out_height(); ++row) {
      for (std::int64_t column = 0; column < shape.out_width(); ++column, ++output) {
        for (std::int64_t place = 0; place < shape.window_height * shape.window_width; ++place) {
          const std::int64_t h = row * shape.stride - shape.padding + place / shape.window_width;
          const std::int64_t w = column * shape.stride - shape.padding + place % shape.window_width;
          if (h < 0 || h >= shape.height || w < 0 || w >= shape.width) continue;
          visit(output, place, (plane * shape.height + h) * shape.width + w);
        }
      }
    }
  }
}

struct PooledInDouble {
  std::vector<double> value;
  std::vector<int> argmax;
};

inline PooledInDouble max_pool2d_reference(const kernels::Pool2dShape& shape, const std::vector<float>& x) {
  PooledInDouble y{std::vector<double>(std::size_t(shape.output_size())),
                   std::vector<int>(std::size_t(shape.output_size()), -1)};
  for_each_pooled(shape, [&](std::int64_t output, std::int64_t place, std::int64_t input) {
    const auto o = std::size_t(output);
    const double candidate = x[std::size_t(input)];
    const bool first_nan = std::isnan(candidate) && !std::isnan(y.value[o]);
    if (y.argmax[o] < 0 || candidate > y.value[o] || first_nan) y.value[o] = candidate, y.argmax[o] = int(place);
  });
  return y;
}

inline std::vector<double> max_pool2d_backward_reference(const kernels::Pool2dShape& shape,
                                                         const std::vector<int>& argmax, const std::vector<float>& dy) {
  std::vector<double> dx(std::size_t(shape.input_size()));
  for_each_pooled(shape, [&](std::int64_t output, std::int64_t place, std::int64_t input) {
    if (argmax[std::size_t(output)] == place) dx[std::size_t(input)] += dy[std::size_t(output)];
  });
  return dx;
}

// What each output divides by.
inline std::vector<double> average_divisors(const kernels::Pool2dShape& shape, kernels::AverageDivisor divisor) {
  std::vector<double> divisors(std::size_t(shape.output_size()));
  if (divisor == kernels::AverageDivisor::window) {
    std::fill(divisors.begin(), divisors.end(), double(shape.window_height * shape.window_width));
  } else {
    for_each_pooled(shape, [&](std::int64_t output, std::int64_t, std::int64_t) { ++divisors[std::size_t(output)]; });
  }
  return divisors;
}

inline std::vector<double> average_pool2d_reference(const kernels::Pool2dShape& shape, kernels::AverageDivisor divisor,
                                                    const std::vector<float>& x) {
  const std::vector<double> divisors = average_divisors(shape, divisor);
  std::vector<double> y(divisors.size());
  for_each_pooled(shape, [&](std::int64_t output, std::int64_t, std::int64_t input) {
    y[std::size_t(output)] += x[std::size_t(input)] / divisors[std::size_t(output)];
  });
  return y;
}

inline std::vector<double> average_pool2d_backward_reference(const kernels::Pool2dShape& shape,
                                                             kernels::AverageDivisor divisor,
                                                             const std::vector<float>& dy) {
  const std::vector<double> divisors = average_divisors(shape, divisor);
  std::vector<double> dx(std::size_t(shape.input_size()));
  for_each_pooled(shape, [&](std::int64_t output, std::int64_t, std::int64_t input) {
    dx[std::size_t(input)] += dy[std::size_t(output)] / divisors[std::size_t(output)];
  });
  return dx;
}

}  // namespace espalier::test
