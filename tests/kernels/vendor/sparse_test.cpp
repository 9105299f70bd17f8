// The vendor's sparse product keeps the contract of ours.
#include "kernels/vendor/sparse.h"

#include <doctest/doctest.h>

#include "kernels/require.h"
#include "kernels/sparse/encode_blocked_ell.h"
#include "tests/support/kept_buffers.h"
#include "tests/support/sparse_buffers.h"

namespace espalier::test {
namespace {

struct Problem {
  std::int64_t batch, rows, columns;
  kernels::Activation activation = kernels::Activation::relu;
};

// `view` describes `weight`.
template <class View>
void check_product(const Problem& p, const std::vector<float>& weight, const View& view) {
  CAPTURE(p.batch);
  CAPTURE(p.rows);
  CAPTURE(p.columns);
  const auto x = random_floats(std::size_t(p.batch * p.columns), 1), bias = random_floats(std::size_t(p.rows), 2);
  const auto expected = reference_linear(p.batch, p.rows, p.columns, x, weight, bias, p.activation);
  const GuardedBuffer<float> device_x(x), device_bias(bias);
  GuardedBuffer<float> y(std::size_t(p.batch * p.rows));
  kernels::vendor::SparseProduct product(view, p.batch);
  GuardedBuffer<float> workspace(std::size_t(product.workspace_floats()));
  product.prepare(workspace.data(), nullptr);
  for (int run = 0; run < 2; ++run) {  // the second meets everything prepared and used
    product(device_x.data(), {device_bias.data(), p.activation}, y.data(), nullptr);
    CHECK(y.guards_intact());
    CHECK(workspace.guards_intact());
    CHECK(difference(y.download(), expected, 1e-5, sum_tolerance(p.columns)) == "");
  }
}

void check(std::int64_t batch, std::int64_t rows, std::int64_t columns, double sparsity,
           kernels::Activation activation = kernels::Activation::relu) {
  CAPTURE(sparsity);
  const auto weight = sparse_weight(rows, columns, sparsity, 3);
  const CsrBuffers csr(rows, columns, weight);
  check_product({batch, rows, columns, activation}, weight, csr.view());
}

// Also the Blocked-ELL that is made of them, and back.
void check_blocks(std::int64_t batch, std::int64_t rows, std::int64_t columns, std::int64_t block, double sparsity) {
  CAPTURE(sparsity);
  const auto weight = sparse_weight(rows, columns, sparsity, 3);
  const BlockCsrBuffers blocks(rows, columns, {block, block}, weight);
  check_product({batch, rows, columns}, weight, blocks.view());
  GuardedBuffer<std::int32_t> places(1);
  kernels::blocked_ell_places(blocks.view(), places.data(), nullptr);
  kernels::BlockedEllView ell{rows, columns, block, places.download().front()};
  GuardedBuffer<std::int32_t> columns_of(std::size_t(ell.block_grid_rows() * ell.places));
  GuardedBuffer<float> values(std::size_t(rows * ell.places * block)), decoded(weight.size());
  kernels::blocked_ell_fill(blocks.view(), ell, columns_of.data(), values.data(), nullptr);
  ell.column_indices = columns_of.data(), ell.values = values.data();
  CHECK(columns_of.guards_intact());
  CHECK(values.guards_intact());
  kernels::blocked_ell_decode(ell, decoded.data(), nullptr);
  CHECK(decoded.guards_intact());
  CHECK(decoded.download() == weight);
  check_product({batch, rows, columns}, weight, ell);
}

TEST_CASE("vendor block products equal the dense product with zeros, and blocked-ell gives the weight back") {
  for (const std::int64_t block : {1, 4, 8}) check_blocks(5, 3 * block, 5 * block, block, 0.95);
  for (const double sparsity : {0.0, 0.99, 1.0}) check_blocks(3, 32, 48, 16, sparsity);
}

TEST_CASE("vendor block products refuse blocks that stick out") {
  const kernels::BlockCsrView view{.rows = 7, .columns = 8, .block_rows = 4, .block_columns = 4};
  CHECK(!kernels::vendor::SparseProduct::takes(view));
  CHECK_THROWS_AS(kernels::vendor::SparseProduct(view, 1), InvalidArgument);
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

TEST_CASE("vendor sampled product equals the dense gradient at the kept places") {
  for (const std::int64_t batch : {1, 5, 64}) {
    for (const double sparsity : {0.0, 0.7, 0.95}) {
      CAPTURE(batch);
      CAPTURE(sparsity);
      const std::int64_t rows = 17, columns = 33;
      const auto keep = keep_of(uneven_weight(rows, columns, sparsity, 3));
      const KeptBuffers kept(rows, columns, keep);
      const auto dy = random_floats(std::size_t(batch * rows), 1), x = random_floats(std::size_t(batch * columns), 2);
      std::vector<double> expected;
      for (std::int64_t i = 0; i < rows * columns; ++i) {
        if (!keep[std::size_t(i)]) continue;
        expected.push_back(0.0);
        for (std::int64_t b = 0; b < batch; ++b) {
          expected.back() +=
              double(dy[std::size_t(b * rows + i / columns)]) * double(x[std::size_t(b * columns + i % columns)]);
        }
      }
      const GuardedBuffer<float> device_dy(dy), device_x(x);
      kernels::vendor::SampledProduct product(kept.view(), batch);
      GuardedBuffer<float> dw(expected.size()), workspace(std::size_t(product.workspace_floats()));
      product.prepare(workspace.data(), nullptr);
      for (int run = 0; run < 2; ++run) {  // the second meets everything prepared and used
        product(device_dy.data(), device_x.data(), dw.data(), nullptr);
        CHECK(difference(dw.download(), expected, 1e-5, sum_tolerance(batch)) == "");
      }
      CHECK(dw.guards_intact());
      CHECK(workspace.guards_intact());
      CHECK(kept.guards_intact());
    }
  }
  CHECK_THROWS_AS(kernels::vendor::SampledProduct({.rows = 3, .columns = 4}, 1), InvalidArgument);
}

}  // namespace
}  // namespace espalier::test
