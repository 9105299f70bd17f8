// The sampled product against plain sums in double, and the product with the transposed weight beside it.
#include "kernels/sparse/csr_sddmm.h"

#include <doctest/doctest.h>

#include "kernels/require.h"
#include "kernels/sparse/csr_spmm.h"
#include "tests/support/kept_buffers.h"

namespace espalier::test {
namespace {

using kernels::SparseTeam;

GuardedBuffer<float> panels_of(std::int64_t batch, std::int64_t features, const std::vector<float>& x,
                               SparseTeam team) {
  const kernels::PanelShape shape = kernels::panel_shape(batch, features, team);
  GuardedBuffer<float> panels(std::size_t(shape.elements()));
  kernels::make_panels(shape, GuardedBuffer<float>(x).data(), panels.data(), team, nullptr);
  cuda_check(cudaDeviceSynchronize());
  return panels;
}

struct Problem {
  std::int64_t batch, rows, columns;
  double sparsity = 0.9;
};

void check_team(const Problem& p, SparseTeam team) {
  const std::vector<float> weight = uneven_weight(p.rows, p.columns, p.sparsity, 3);
  const auto dy = random_floats(std::size_t(p.batch * p.rows), 1),
             x = random_floats(std::size_t(p.batch * p.columns), 2);
  const KeptBuffers kept(p.rows, p.columns, keep_of(weight));
  const auto dy_panels = panels_of(p.batch, p.rows, dy, team), x_panels = panels_of(p.batch, p.columns, x, team);
  GuardedBuffer<float> dw(kept.places.size()), row_sums(std::size_t(p.rows));
  kernels::csr_sddmm(p.batch, kept.view(), dy_panels.data(), x_panels.data(), dw.data(), row_sums.data(), nullptr,
                     team);
  std::vector<double> expected, expected_sums(std::size_t(p.rows), 0.0);
  for (const std::int32_t place : kept.places.download()) {
    double sum = 0;
    for (std::int64_t b = 0; b < p.batch; ++b) {
      sum += double(dy[std::size_t(b * p.rows + place / p.columns)]) *
             double(x[std::size_t(b * p.columns + place % p.columns)]);
    }
    expected.push_back(sum);
  }
  for (std::size_t i = 0; i < dy.size(); ++i) expected_sums[i % std::size_t(p.rows)] += double(dy[i]);
  CHECK(difference(dw.download(), expected, 1e-5, sum_tolerance(p.batch)) == "");
  CHECK(difference(row_sums.download(), expected_sums, 1e-5, sum_tolerance(p.batch)) == "");

  GuardedBuffer<float> values(kept.places.size()), transposed(kept.places.size()), dx(x.size());
  kernels::kept_gather(kept.view(), GuardedBuffer<float>(weight).data(), values.data(), transposed.data(), nullptr);
  kernels::csr_spmm_of_panels(p.batch, kept.view().transposed_with(transposed.data()), dy_panels.data(), {}, dx.data(),
                              nullptr, team);
  std::vector<float> weight_transposed(weight.size());
  for (std::int64_t i = 0; i < p.rows; ++i) {
    for (std::int64_t j = 0; j < p.columns; ++j) {
      weight_transposed[std::size_t(j * p.rows + i)] = weight[std::size_t(i * p.columns + j)];
    }
  }
  const auto expected_dx =
      reference_linear(p.batch, p.columns, p.rows, dy, weight_transposed, {}, kernels::Activation::none);
  CHECK(difference(dx.download(), expected_dx, 1e-5, sum_tolerance(p.rows)) == "");
  CHECK((dw.guards_intact() && row_sums.guards_intact() && dx.guards_intact() && values.guards_intact()));
}

void check(const Problem& problem) {
  CAPTURE(problem.batch);
  CAPTURE(problem.rows);
  CAPTURE(problem.columns);
  CAPTURE(problem.sparsity);
  check_team(problem, SparseTeam::automatic);
  if (simt::kEmulated) check_team(problem, SparseTeam::warp);  // automatic is a warp on a GPU
}

TEST_CASE("csr_sddmm equals the kept part of the dense gradient at every batch, around each panel width") {
  for (const std::int64_t batch : {1, 2, 15, 16, 17, 31, 32, 33, 64, 65, 130}) check({batch, 11, 37});
}

TEST_CASE("csr_sddmm equals the kept part of the dense gradient at odd, prime and tile-edge sizes") {
  for (const std::int64_t rows : {1, 7, 8, 9, 63, 64, 65}) check({21, rows, 33});
  for (const std::int64_t columns : {1, 31, 63, 64, 65, 257, 300}) check({35, 9, columns, 0.8});
}

TEST_CASE("csr_sddmm at sparsities from empty to full") {
  for (const double sparsity : {0.0, 0.5, 0.98, 1.0}) check({40, 13, 150, sparsity});
}

TEST_CASE("csr_sddmm: without row sums, and an empty batch is refused") {
  const KeptBuffers kept(1, 2, {1, 0});
  const auto dy = panels_of(1, 1, {2.0f}, SparseTeam::automatic),
             x = panels_of(1, 2, {3.0f, 4.0f}, SparseTeam::automatic);
  GuardedBuffer<float> dw(1);
  kernels::csr_sddmm(1, kept.view(), dy.data(), x.data(), dw.data(), nullptr, nullptr);
  CHECK(dw.download() == std::vector<float>{6.0f});
  CHECK_THROWS_WITH_AS(kernels::csr_sddmm(0, kept.view(), nullptr, nullptr, nullptr, nullptr, nullptr),
                       "csr_sddmm: batch 0, weight 1 x 2; all must be at least 1", InvalidArgument);
}

}  // namespace
}  // namespace espalier::test
