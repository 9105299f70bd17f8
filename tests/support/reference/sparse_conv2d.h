// The oracle of the sparse convolutions: the dense one with zeros, in double, with the epilogues that they have.
#pragma once
#include <algorithm>

#include "kernels/sparse/csr_conv2d.h"
#include "tests/support/reference/conv2d.h"
#include "tests/support/sparse_problems.h"

namespace espalier::test {

inline std::size_t sparse_conv2d_outputs(const kernels::Conv2dShape& shape, kernels::ConvPool pool) {
  const std::int64_t step = pool == kernels::ConvPool::halves ? 2 : 1;
  return std::size_t(shape.batch * shape.filters * (shape.out_height() / step) * (shape.out_width() / step));
}

inline std::vector<double> reference_sparse_conv2d(const kernels::Conv2dShape& shape, const std::vector<float>& x,
                                                   const std::vector<float>& weight, const std::vector<float>& bias,
                                                   kernels::Activation activation, kernels::ConvPool pool) {
  const std::int64_t pixels = shape.out_height() * shape.out_width();
  std::vector<double> y(std::size_t(shape.output_size()));
  for (std::size_t i = 0; i < y.size(); ++i) y[i] = bias[i / std::size_t(pixels) % bias.size()];
  for_each_conv2d_product(shape, [&](std::size_t in, std::size_t k, std::size_t out, std::size_t) {
    y[out] += double(x[in]) * double(weight[k]);
  });
  for (double& value : y) value = reference_activation(activation, value);
  if (pool == kernels::ConvPool::none) return y;
  const std::int64_t width = shape.out_width();
  std::vector<double> pooled;
  for (std::int64_t plane = 0; plane < shape.batch * shape.filters; ++plane) {
    for (std::int64_t row = 0; row + 1 < shape.out_height(); row += 2) {
      for (std::int64_t column = 0; column + 1 < width; column += 2) {
        const double* from = y.data() + plane * pixels + row * width + column;
        pooled.push_back(std::max({from[0], from[1], from[width], from[width + 1]}));
      }
    }
  }
  return pooled;
}

}  // namespace espalier::test
