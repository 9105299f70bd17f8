// Batch norm against plain loops in double: every team, odd shapes, far-off means, running statistics.
#include "kernels/batch_norm.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "kernels/require.h"
#include "tests/support/close.h"
#include "tests/support/guarded_buffer.h"
#include "tests/support/reference/norm.h"

using namespace espalier;
using namespace espalier::kernels;
using namespace espalier::test;

namespace {

// Outputs are differences and products of a few values of order 1; sums run over at most 128 terms and a tree.
constexpr double kEpsilon = 0x1p-24, kTolerance = 200 * kEpsilon;
constexpr float kVarianceEpsilon = 1e-5f;

struct Problem {
  PlanesShape shape;
  std::vector<float> x, dy, gamma, beta;

  explicit Problem(const PlanesShape& of, float offset = 0)
      : shape(of),
        x(random_floats(std::size_t(of.size()), 1, -1 + offset, 1 + offset)),
        dy(random_floats(std::size_t(of.size()), 2)),
        gamma(random_floats(std::size_t(of.channels), 3, 0.5f, 1.5f)),
        beta(random_floats(std::size_t(of.channels), 4)) {}
};

struct Device {
  GuardedBuffer<float> x, dy, gamma, beta, y, dx, dgamma, dbeta, mean, inverse, running_mean, running_variance;
  GuardedBuffer<unsigned char> workspace;

  explicit Device(const Problem& of)
      : x(of.x),
        dy(of.dy),
        gamma(of.gamma),
        beta(of.beta),
        y(of.x.size()),
        dx(of.x.size()),
        dgamma(of.gamma.size()),
        dbeta(of.gamma.size()),
        mean(of.gamma.size()),
        inverse(of.gamma.size()),
        running_mean(std::vector<float>(of.gamma.size(), 0.25f)),
        running_variance(std::vector<float>(of.gamma.size(), 2.0f)),
        workspace(batch_norm_workspace_bytes(of.shape)) {}

  Affine affine() const { return {gamma.data(), beta.data()}; }
  BatchStatistics statistics() { return {mean.data(), inverse.data()}; }
  RunningStatistics running() { return {running_mean.data(), running_variance.data(), 0.1f}; }
  NormGradients gradients() { return {dx.data(), dgamma.data(), dbeta.data()}; }
  bool guards_intact() const {
    for (const auto* buffer : {&y, &dx, &dgamma, &dbeta, &mean, &inverse, &running_mean, &running_variance}) {
      if (!buffer->guards_intact()) return false;
    }
    return workspace.guards_intact();
  }
};

void check_training(const PlanesShape& shape, RowTeam team) {
  INFO("[", shape.batch, ", ", shape.channels, ", ", shape.area, "], team ", int(team));
  const Problem problem(shape);
  NormInDouble expected;
  const NormGroups groups = batch_norm_groups(shape);
  take_moments(groups, kVarianceEpsilon, problem.x, expected);
  norm_reference(groups, false, problem.x, problem.gamma, problem.beta, problem.dy, expected);

  Device on(problem);
  batch_norm_forward_training(shape, kVarianceEpsilon, on.x.data(), on.affine(), on.y.data(), on.statistics(),
                              on.running(), on.workspace.data(), nullptr, team);
  batch_norm_backward(shape, StatisticsKind::of_batch, on.x.data(), on.gamma.data(), on.statistics(), on.dy.data(),
                      on.gradients(), on.workspace.data(), nullptr, team);
  // A normalised value grows with 1 / deviation, and so do its errors.
  double inverse = 1, running_error = 0;
  for (double value : expected.inverse) inverse = std::max(inverse, value);
  const double count = double(shape.per_channel());
  CHECK(difference(on.mean.download(), expected.mean, 0, kTolerance) == "");
  CHECK(difference(on.inverse.download(), expected.inverse, kTolerance * inverse, 0) == "");
  CHECK(difference(on.y.download(), expected.y, 0, kTolerance * inverse) == "");
  CHECK(difference(on.dx.download(), expected.dx, 0, kTolerance * inverse * inverse) == "");
  CHECK(difference(on.dgamma.download(), expected.dgamma, 0, kTolerance * inverse * count) == "");
  CHECK(difference(on.dbeta.download(), expected.dbeta, 0, kTolerance * count) == "");
  const std::vector<float> running_mean = on.running_mean.download(), variance = on.running_variance.download();
  for (std::size_t c = 0; c < running_mean.size(); ++c) {
    const double unbiased = expected.variance[c] * count / (count - 1);
    running_error = std::max({running_error, std::abs(running_mean[c] - (0.9 * 0.25 + 0.1 * expected.mean[c])),
                              std::abs(variance[c] - (0.9 * 2.0 + 0.1 * unbiased))});
  }
  CHECK(running_error <= kTolerance);
  CHECK(on.guards_intact());
}

}  // namespace

TEST_CASE("batch_norm: training forward and backward equal plain loops in double, for every team and shape") {
  for (RowTeam team : {RowTeam::automatic, RowTeam::thread, RowTeam::block}) {
    for (index_t area : {2, 37, 4096, 4097, 8193}) check_training({1, 1, area}, team);
    for (index_t batch : {3, 129, 260}) {
      for (index_t channels : {1, 31, 33, 64, 65}) check_training({batch, channels, 1}, team);
    }
    for (const PlanesShape& shape : {PlanesShape{3, 5, 7}, {2, 33, 49}, {5, 3, 257}, {17, 2, 600}}) {
      check_training(shape, team);
    }
  }
}

TEST_CASE("batch_norm: a mean far from zero costs no digits of the variance") {
  for (const PlanesShape& shape : {PlanesShape{40, 3, 300}, {500, 5, 1}}) {
    const Problem problem(shape, 4000);
    NormInDouble expected;
    take_moments(batch_norm_groups(shape), kVarianceEpsilon, problem.x, expected);
    for (RowTeam team : {RowTeam::thread, RowTeam::block}) {
      Device on(problem);
      batch_norm_forward_training(shape, kVarianceEpsilon, on.x.data(), on.affine(), on.y.data(), on.statistics(),
                                  on.running(), on.workspace.data(), nullptr, team);
      CHECK(difference(on.mean.download(), expected.mean, kEpsilon, 0) == "");  // one rounding of the mean itself
      CHECK(difference(on.inverse.download(), expected.inverse, kTolerance, 0) == "");
    }
  }
}

TEST_CASE("batch_norm: inference normalises by the running statistics and passes gradients through them as constants") {
  for (const PlanesShape& shape : {PlanesShape{1, 1, 1}, {3, 5, 7}, {33, 65, 1}, {2, 3, 4099}}) {
    const Problem problem(shape);
    Device on(problem);
    NormInDouble expected;
    expected.mean.assign(problem.gamma.size(), 0.25);
    expected.inverse.assign(problem.gamma.size(), 1 / std::sqrt(2.0 + kVarianceEpsilon));
    norm_reference(batch_norm_groups(shape), true, problem.x, problem.gamma, problem.beta, problem.dy, expected);

    batch_norm_use_running(shape.channels, kVarianceEpsilon, on.running(), on.statistics(), nullptr);
    batch_norm_forward_inference(shape, on.x.data(), on.affine(), on.statistics(), on.y.data(), nullptr);
    batch_norm_backward(shape, StatisticsKind::constant, on.x.data(), on.gamma.data(), on.statistics(), on.dy.data(),
                        on.gradients(), on.workspace.data(), nullptr);
    const double count = double(shape.per_channel());
    CHECK(difference(on.y.download(), expected.y, 0, 8 * kEpsilon) == "");
    CHECK(difference(on.dx.download(), expected.dx, 0, 8 * kEpsilon) == "");
    CHECK(difference(on.dgamma.download(), expected.dgamma, 0, kTolerance * count) == "");
    CHECK(difference(on.dbeta.download(), expected.dbeta, 0, kTolerance * count) == "");
    CHECK(on.guards_intact());
  }
}

TEST_CASE("batch_norm: one value per channel cannot be normalised in training") {
  const Problem problem({1, 3, 1});
  Device on(problem);
  CHECK_THROWS_AS(batch_norm_forward_training(problem.shape, kVarianceEpsilon, on.x.data(), on.affine(), on.y.data(),
                                              on.statistics(), on.running(), on.workspace.data(), nullptr),
                  InvalidArgument);
}
