// The sparse product against the dense one with zeros, in double.
#include "kernels/sparse/csr_spmm.h"

#include <doctest/doctest.h>

#include "kernels/require.h"
#include "tests/support/sparse_buffers.h"

namespace espalier::test {
namespace {

using kernels::Activation;
using kernels::SparseTeam;

struct Problem {
  std::int64_t batch, rows, columns;
  double sparsity = 0.9;
  Activation activation = Activation::none;
  bool with_bias = true, with_workspace = true;
};

std::vector<float> run(const Problem& problem, const std::vector<float>& x, const std::vector<float>& weight,
                       const std::vector<float>& bias, SparseTeam team) {
  const CsrBuffers csr(problem.rows, problem.columns, weight);
  const GuardedBuffer<float> device_x(x), device_bias(bias);
  GuardedBuffer<float> y(std::size_t(problem.batch * problem.rows));
  const auto floats = problem.with_workspace ? kernels::csr_spmm_workspace(problem.batch, csr.view(), team) : 0;
  GuardedBuffer<float> workspace{std::size_t(floats)};
  kernels::csr_spmm(problem.batch, csr.view(), device_x.data(),
                    {problem.with_bias ? device_bias.data() : nullptr, problem.activation}, y.data(),
                    {workspace.data(), floats}, nullptr, team);
  CHECK(y.guards_intact());
  CHECK(workspace.guards_intact());
  return y.download();
}

void check(const Problem& problem) {
  CAPTURE(problem.batch);
  CAPTURE(problem.rows);
  CAPTURE(problem.columns);
  CAPTURE(problem.sparsity);
  const auto x = random_floats(std::size_t(problem.batch * problem.columns), 1);
  const auto bias = random_floats(std::size_t(problem.rows), 2);
  const auto weight = uneven_weight(problem.rows, problem.columns, problem.sparsity, 3);
  const auto expected = reference_linear(problem.batch, problem.rows, problem.columns, x, weight,
                                         problem.with_bias ? bias : std::vector<float>{}, problem.activation);
  for (const SparseTeam team : {SparseTeam::automatic, SparseTeam::warp}) {
    if (team == SparseTeam::warp && !simt::kEmulated) continue;  // automatic is a warp there
    CAPTURE(int(team));
    CHECK(difference(run(problem, x, weight, bias, team), expected, 1e-5, sum_tolerance(problem.columns)) == "");
  }
}

TEST_CASE("csr_spmm equals the dense product with zeros at every batch, around each panel width") {
  for (const std::int64_t batch : {1, 2, 3, 4, 5, 15, 16, 17, 31, 32, 33, 63, 64, 65, 97}) check({batch, 19, 37});
}

TEST_CASE("csr_spmm equals the dense product with zeros at odd, prime and tile-edge sizes") {
  for (const std::int64_t rows : {1, 7, 8, 9, 15, 16, 17, 63, 64, 65}) check({21, rows, 33});
  for (const std::int64_t columns : {1, 2, 31, 32, 33, 63, 64, 65, 127, 131, 257}) check({35, 11, columns});
  check({130, 101, 301});
}

TEST_CASE("csr_spmm at sparsities from empty to full") {
  for (const double sparsity : {0.0, 0.5, 0.8, 0.98, 1.0}) {
    check({40, 24, 150, sparsity});
    check({1, 24, 150, sparsity});
  }
}

TEST_CASE("csr_spmm applies bias and activation") {
  for (const Activation activation :
       {Activation::relu, Activation::leaky_relu, Activation::gelu, Activation::sigmoid, Activation::tanh}) {
    check({20, 18, 40, 0.8, activation});
    check({2, 18, 40, 0.8, activation});
  }
  check({20, 18, 40, 0.8, Activation::none, false});
}

TEST_CASE("csr_spmm without a workspace gathers and is still right") {
  for (const std::int64_t batch : {5, 17, 66}) check({batch, 33, 70, 0.8, Activation::relu, true, false});
}

TEST_CASE("csr_spmm: an empty row yields its bias, also where x is infinite") {
  const CsrBuffers csr(2, 2, {0.0f, 0.0f, 0.0f, 3.0f});
  const GuardedBuffer<float> x(std::vector<float>{INFINITY, 2.0f}), bias(std::vector<float>{0.25f, 0.5f});
  GuardedBuffer<float> y(2);
  kernels::csr_spmm(1, csr.view(), x.data(), {bias.data()}, y.data(), {}, nullptr);
  CHECK(y.download() == std::vector<float>{0.25f, 6.5f});
}

TEST_CASE("csr_spmm: an empty batch is refused with the sizes") {
  const CsrBuffers csr(2, 2, {0.0f, 0.0f, 0.0f, 3.0f});
  CHECK_THROWS_WITH_AS(kernels::csr_spmm(0, csr.view(), nullptr, {}, nullptr, {}, nullptr),
                       "csr_spmm: batch 0, weight 2 x 2; all must be at least 1", InvalidArgument);
}

}  // namespace
}  // namespace espalier::test
