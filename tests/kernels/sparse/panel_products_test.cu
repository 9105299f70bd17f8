// Block CSR and 2:4 products against the dense one with zeros, in double.
#include <doctest/doctest.h>

#include "kernels/require.h"
#include "kernels/sparse/block_csr_spmm.h"
#include "kernels/sparse/two_four_spmm.h"
#include "tests/support/sparse_buffers.h"

namespace espalier::test {
namespace {

using kernels::Activation;
using kernels::BiasActivation;
using kernels::SparseTeam;

struct Problem {
  std::int64_t batch, rows, columns;
  double sparsity = 0.7;
  Activation activation = Activation::relu;
};

// product(problem, x, epilogue, y, panels, team) for every team, against the dense product.
void check(const Problem& p, const std::vector<float>& weight, const auto& product) {
  CAPTURE(p.batch);
  CAPTURE(p.rows);
  CAPTURE(p.columns);
  CAPTURE(p.sparsity);
  const auto x = random_floats(std::size_t(p.batch * p.columns), 1), bias = random_floats(std::size_t(p.rows), 2);
  const auto expected = reference_linear(p.batch, p.rows, p.columns, x, weight, bias, p.activation);
  const GuardedBuffer<float> device_x(x), device_bias(bias);
  for (const SparseTeam team : {SparseTeam::automatic, SparseTeam::warp}) {
    if (team == SparseTeam::warp && !simt::kEmulated) continue;  // automatic is a warp there
    CAPTURE(int(team));
    GuardedBuffer<float> y(std::size_t(p.batch * p.rows));
    GuardedBuffer<float> panels(std::size_t(kernels::panel_shape(p.batch, p.columns, team).elements()));
    product(device_x.data(), BiasActivation{device_bias.data(), p.activation}, y.data(), panels.data(), team);
    CHECK(y.guards_intact());
    CHECK(panels.guards_intact());
    CHECK(difference(y.download(), expected, 1e-5, sum_tolerance(p.columns)) == "");
  }
}

void check_blocks(const Problem& p, kernels::BlockShape block) {
  CAPTURE(block.rows);
  CAPTURE(block.columns);
  const auto weight = uneven_weight(p.rows, p.columns, p.sparsity, 3);
  const BlockCsrBuffers blocks(p.rows, p.columns, block, weight);
  check(p, weight, [&](const float* x, const BiasActivation& epilogue, float* y, float* panels, SparseTeam team) {
    block_csr_spmm(p.batch, blocks.view(), x, epilogue, y, panels, nullptr, team);
  });
}

void check_two_four(const Problem& p) {
  auto weight = uneven_weight(p.rows, p.columns, p.sparsity, 3);
  obey_two_four(weight, p.columns);
  const TwoFourBuffers two_four(p.rows, p.columns, weight);
  check(p, weight, [&](const float* x, const BiasActivation& epilogue, float* y, float* panels, SparseTeam team) {
    two_four_spmm(p.batch, two_four.view(), x, epilogue, y, panels, nullptr, team);
  });
}

TEST_CASE("block_csr_spmm equals the dense product with zeros for square, flat, odd and ragged blocks") {
  for (const kernels::BlockShape block :
       {kernels::BlockShape{8, 8}, {16, 16}, {32, 32}, {4, 4}, {4, 8}, {3, 5}, {1, 1}}) {
    check_blocks({5, 37, 45}, block);
    check_blocks({33, 32, 64}, block);
  }
}

TEST_CASE("block_csr_spmm at every batch around a panel, and at sizes around a block") {
  for (const std::int64_t batch : {1, 2, 15, 16, 17, 31, 32, 33, 64, 65}) check_blocks({batch, 9, 17}, {8, 8});
  for (const std::int64_t size : {1, 7, 8, 9, 63, 65}) check_blocks({3, size, size}, {8, 8});
}

TEST_CASE("block_csr_spmm from an empty to a full weight, with every activation") {
  for (const double sparsity : {0.0, 0.95, 1.0}) check_blocks({10, 24, 40, sparsity}, {8, 8});
  for (const Activation a : {Activation::none, Activation::leaky_relu, Activation::gelu, Activation::tanh}) {
    check_blocks({10, 24, 40, 0.9, a}, {8, 8});
  }
}

TEST_CASE("two_four_spmm equals the dense product with zeros at odd and tile-edge sizes") {
  for (const std::int64_t batch : {1, 3, 16, 17, 33, 65}) check_two_four({batch, 9, 36});
  for (const std::int64_t rows : {1, 7, 8, 15, 16, 17, 65}) check_two_four({5, rows, 33});
  for (const std::int64_t columns : {1, 2, 3, 4, 5, 31, 32, 63, 64, 129}) check_two_four({7, 6, columns, 0.2});
}

TEST_CASE("two_four_spmm of an empty weight is the activated bias") { check_two_four({6, 5, 9, 1.0}); }

TEST_CASE("panel products refuse an empty batch with the sizes") {
  const kernels::BlockCsrView blocks{2, 3};
  CHECK_THROWS_WITH_AS(block_csr_spmm(0, blocks, nullptr, {}, nullptr, nullptr, nullptr),
                       "block_csr_spmm: batch 0, weight 2 x 3; all must be at least 1", InvalidArgument);
}

}  // namespace
}  // namespace espalier::test
