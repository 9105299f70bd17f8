// A sparse network on the host, layer after layer with random weights, and what it makes of random images: in double,
// dense with zeros. The weights are the same at every batch.
#pragma once
#include <algorithm>
#include <vector>

#include "kernels/sparse/fused_network.h"
#include "tests/support/reference/conv2d.h"
#include "tests/support/reference/pool2d.h"
#include "tests/support/sparse_problems.h"

namespace espalier::test {

// A network under construction, with what it makes of x.
struct SparseNetwork {
  std::int64_t batch;
  std::vector<kernels::FusedProduct> products = {};
  std::vector<float> x = {};
  std::vector<double> y = {};

  void add(kernels::Conv2dShape shape, double sparsity, kernels::Activation activation = kernels::Activation::none,
           bool pool = false) {
    const unsigned seed = 10 * unsigned(products.size()) + 1;
    shape.batch = batch;
    if (products.empty()) {
      x = random_floats(std::size_t(shape.input_size()), seed);
      y.assign(x.begin(), x.end());
    }
    kernels::FusedProduct product{.shape = shape, .pool = pool, .activation = activation};
    const std::vector<float> weight = uneven_weight(shape.filters, shape.patch(), sparsity, seed + 1);
    if (seed % 20 == 1) product.bias = random_floats(std::size_t(shape.filters), seed + 2);  // every other layer
    product.set_weight(weight);
    std::vector<double> out(std::size_t(shape.output_size()), 0.0);
    for_each_conv2d_product(
        shape, [&](std::size_t i, std::size_t k, std::size_t o, std::size_t) { out[o] += y[i] * double(weight[k]); });
    const auto pixels = std::size_t(shape.out_height() * shape.out_width());
    for (std::size_t i = 0; i < out.size(); ++i) {
      const double bias = product.bias.empty() ? 0.0 : double(product.bias[i / pixels % product.bias.size()]);
      out[i] = reference_activation(activation, out[i] + bias);
    }
    y = pool ? pooled(shape, out) : out;
    products.push_back(std::move(product));
  }

  static std::vector<double> pooled(const kernels::Conv2dShape& shape, const std::vector<double>& map) {
    const kernels::Pool2dShape pool{shape.batch * shape.filters, shape.out_height(), shape.out_width()};
    std::vector<double> best(std::size_t(pool.output_size()), -1e300);
    for_each_pooled(pool, [&](std::int64_t o, std::int64_t, std::int64_t i) {
      best[std::size_t(o)] = std::max(best[std::size_t(o)], map[std::size_t(i)]);
    });
    return best;
  }

  void dense(std::int64_t inputs, std::int64_t outputs, double sparsity,
             kernels::Activation activation = kernels::Activation::none) {
    kernels::Conv2dShape shape{.width = inputs, .filters = outputs, .kernel_width = inputs};
    add(shape, sparsity, activation);
  }
};

}  // namespace espalier::test
