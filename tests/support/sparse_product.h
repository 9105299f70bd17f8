// A product with a sparse weight against the dense one with zeros, in double: what the tests of the formats share.
#pragma once
#include <doctest/doctest.h>

#include <functional>
#include <vector>

#include "kernels/sparse/bias_activation.h"
#include "tests/support/sparse_problems.h"

namespace espalier::test {

// launch(x, bias and activation, y, scratch), scratch [scratch_size]. p has batch, rows, columns, activation and, where
// the bias may be missing, with_bias. `weight` is what the format keeps of it; as_read(x) is what the product reads.
template <class Scratch = float, class Problem, class Launch, class AsRead = std::identity>
void check_sparse_product(const Problem& p, const std::vector<float>& weight, std::int64_t scratch_size,
                          const Launch& launch, const AsRead& as_read = {}) {
  const auto x = random_floats(std::size_t(p.batch * p.columns), 1);
  std::vector<float> bias = random_floats(std::size_t(p.rows), 2);
  if constexpr (requires { p.with_bias; }) {
    if (!p.with_bias) bias.clear();
  }
  const auto expected = reference_linear(p.batch, p.rows, p.columns, as_read(x), weight, bias, p.activation);
  const GuardedBuffer<float> device_x(x), device_bias(bias);
  GuardedBuffer<float> y(expected.size());
  GuardedBuffer<Scratch> scratch{std::size_t(scratch_size)};
  launch(device_x.data(), kernels::BiasActivation{bias.empty() ? nullptr : device_bias.data(), p.activation}, y.data(),
         scratch.data());
  CHECK(y.guards_intact());
  CHECK(scratch.guards_intact());
  CHECK(difference(y.download(), expected, 1e-5, sum_tolerance(p.columns)) == "");
}

}  // namespace espalier::test
