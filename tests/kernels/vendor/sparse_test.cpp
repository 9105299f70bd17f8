// The vendor's sparse product keeps the contract of ours.
#include "kernels/vendor/sparse.h"

#include <doctest/doctest.h>

#include "tests/support/sparse_buffers.h"

namespace espalier::test {
namespace {

void check(std::int64_t batch, std::int64_t rows, std::int64_t columns, double sparsity,
           kernels::Activation activation = kernels::Activation::relu) {
  CAPTURE(batch);
  CAPTURE(rows);
  CAPTURE(columns);
  CAPTURE(sparsity);
  const auto x = random_floats(std::size_t(batch * columns), 1), bias = random_floats(std::size_t(rows), 2);
  const auto weight = sparse_weight(rows, columns, sparsity, 3);
  const CsrBuffers csr(rows, columns, weight);
  const GuardedBuffer<float> device_x(x), device_bias(bias);
  GuardedBuffer<float> y(std::size_t(batch * rows));
  kernels::vendor::CsrProduct product(csr.view(), batch);
  GuardedBuffer<float> workspace(std::size_t(product.workspace_floats()));
  product.prepare(workspace.data(), nullptr);
  for (int run = 0; run < 2; ++run) {  // the second meets everything prepared and used
    product(device_x.data(), {device_bias.data(), activation}, y.data(), nullptr);
    CHECK(y.guards_intact());
    CHECK(workspace.guards_intact());
    CHECK(difference(y.download(), reference_linear(batch, rows, columns, x, weight, bias, activation), 1e-5,
                     sum_tolerance(columns)) == "");
  }
}

TEST_CASE("vendor csr product equals the dense product with zeros") {
  for (const std::int64_t batch : {1, 5, 64}) {
    for (const std::int64_t rows : {1, 17}) {
      for (const std::int64_t columns : {1, 33}) check(batch, rows, columns, 0.7);
    }
  }
  check(7, 40, 120, 0.95, kernels::Activation::none);
}

TEST_CASE("vendor csr product of a weight without nonzeros is the activated bias") { check(3, 4, 5, 1.0); }

}  // namespace
}  // namespace espalier::test
