// Layer norm against plain loops in double: every team, odd rows, far-off means.
#include "kernels/layer_norm.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "tests/support/close.h"
#include "tests/support/guarded_buffer.h"
#include "tests/support/reference/norm.h"

using namespace espalier;
using namespace espalier::kernels;
using namespace espalier::test;

namespace {

// Outputs are differences and products of a few values of order 1; sums run over at most 128 terms and a tree.
constexpr double kTolerance = 200 * 0x1p-24;
constexpr float kVarianceEpsilon = 1e-5f;

void check_rows(const MatrixShape& shape, RowTeam team, float offset) {
  INFO("[", shape.rows, ", ", shape.columns, "], team ", int(team), ", offset ", offset);
  const std::size_t size = std::size_t(shape.size()), columns = std::size_t(shape.columns);
  const std::vector<float> x = random_floats(size, 1, -1 + offset, 1 + offset), dy = random_floats(size, 2);
  const std::vector<float> gamma = random_floats(columns, 3, 0.5f, 1.5f), beta = random_floats(columns, 4);
  NormInDouble expected;
  const NormGroups groups = layer_norm_groups(shape);
  take_moments(groups, kVarianceEpsilon, x, expected);
  norm_reference(groups, false, x, gamma, beta, dy, expected);

  const GuardedBuffer<float> on_x(x), on_dy(dy), on_gamma(gamma), on_beta(beta);
  GuardedBuffer<float> y(size), dx(size), dgamma(columns), dbeta(columns);
  GuardedBuffer<float> mean{std::size_t(shape.rows)}, deviation{std::size_t(shape.rows)};
  GuardedBuffer<unsigned char> workspace(layer_norm_workspace_bytes(shape));
  const RowStatistics statistics{mean.data(), deviation.data()};
  layer_norm_forward(shape, kVarianceEpsilon, on_x.data(), {on_gamma.data(), on_beta.data()}, y.data(), statistics,
                     nullptr, team);
  layer_norm_backward(shape, on_x.data(), on_gamma.data(), statistics, on_dy.data(),
                      {dx.data(), dgamma.data(), dbeta.data()}, workspace.data(), nullptr, team);
  double inverse = 1;  // a normalised value grows with 1 / deviation, and so do its errors
  for (double value : expected.inverse) inverse = std::max(inverse, value);
  const double scale = inverse * (1 + offset / 100);  // the mean itself is rounded once: half an ulp of the offset
  CHECK(difference(y.download(), expected.y, 0, kTolerance * scale) == "");
  CHECK(difference(dx.download(), expected.dx, 0, kTolerance * scale * inverse) == "");
  CHECK(difference(dgamma.download(), expected.dgamma, 0, kTolerance * scale * double(shape.rows)) == "");
  CHECK(difference(dbeta.download(), expected.dbeta, 0, kTolerance * double(shape.rows)) == "");
  CHECK(difference(deviation.download(), expected.inverse, kTolerance * inverse, 0) == "");
  for (const auto* buffer : {&y, &dx, &dgamma, &dbeta, &mean, &deviation}) CHECK(buffer->guards_intact());
  CHECK(workspace.guards_intact());
}

}  // namespace

TEST_CASE("layer_norm: forward and backward equal plain loops in double, for every team and shape") {
  for (RowTeam team : {RowTeam::automatic, RowTeam::thread, RowTeam::octet, RowTeam::warp, RowTeam::block}) {
    for (const MatrixShape& shape : {MatrixShape{1, 1},
                                     {3, 2},
                                     {5, 7},
                                     {15, 31},
                                     {16, 32},
                                     {17, 33},
                                     {4, 255},
                                     {3, 256},
                                     {2, 257},
                                     {260, 65},
                                     {2, 4099}}) {
      check_rows(shape, team, 0);
    }
  }
}

TEST_CASE("layer_norm: a mean far from zero costs no digits of the variance") {
  check_rows({5, 301}, RowTeam::thread, 4000);
  check_rows({5, 301}, RowTeam::warp, 4000);
}
