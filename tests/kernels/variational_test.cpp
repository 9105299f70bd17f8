// Sparse variational dropout against its formulae in double; the noise is what fill_normal() draws.
#include "kernels/variational.h"

#include <doctest/doctest.h>

#include <bit>
#include <cmath>

#include "kernels/random.h"
#include "tests/support/close.h"
#include "tests/support/guarded_buffer.h"

namespace espalier::kernels {
namespace {

using namespace espalier::test;

constexpr std::size_t kCounts[] = {1, 31, 127, 128, 129, 4099};
constexpr double kTolerance = 8 * 0x1p-24;  // exponentials and logarithms are 1.4 ulp off, a few roundings beside

// Means and log variances with log alpha from -25 to 20, some means exactly zero; every fifth weight pruned.
struct Weights {
  std::vector<float> mean, log_variance;
  std::vector<std::uint8_t> keep;
  GuardedBuffer<float> on_mean, on_log_variance;
  GuardedBuffer<std::uint8_t> on_keep;

  explicit Weights(std::size_t count)
      : mean(random_floats(count, 1)),
        log_variance(random_floats(count, 2, -12, 3)),
        keep(count, 1),
        on_mean(count),
        on_log_variance(log_variance),
        on_keep(count) {
    for (std::size_t i = 0; i < count; ++i) {
      if (i % 3 == 1) mean[i] *= 1e-3f;
      if (i % 7 == 3) mean[i] = 0.0f;
      if (i % 5 == 4) mean[i] = 0.0f, keep[i] = 0;
    }
    on_mean.upload(mean);
    on_keep.upload(keep);
  }
  VariationalWeight view(bool masked) const {
    return {.count = index_t(mean.size()),
            .mean = on_mean.data(),
            .log_variance = on_log_variance.data(),
            .keep = masked ? on_keep.data() : nullptr};
  }
  double log_alpha(std::size_t i) const {
    return double(log_variance[i]) - std::log(double(mean[i]) * double(mean[i]) + 1e-8);
  }
};

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

// The divergence by log alpha, up to the constant that makes it 0 at infinity.
double divergence(double a) { return 0.63576 * (1 - sigmoid(1.87320 + 1.48695 * a)) + 0.5 * std::log1p(std::exp(-a)); }

double divergence_slope(double a) {
  const double h = 1e-4;
  return (8 * (divergence(a + h) - divergence(a - h)) - (divergence(a + 2 * h) - divergence(a - 2 * h))) / (12 * h);
}

}  // namespace

TEST_CASE("weight_variance: exp of the log variance, exactly +0 where a weight is pruned") {
  for (const std::size_t count : kCounts) {
    const Weights weights(count);
    for (const bool masked : {false, true}) {
      GuardedBuffer<float> variance(count);
      weight_variance(weights.view(masked), variance.data(), nullptr);
      std::vector<double> expected;
      for (std::size_t i = 0; i < count; ++i) {
        expected.push_back(masked && !weights.keep[i] ? 0.0 : std::exp(double(weights.log_variance[i])));
      }
      CHECK(difference(variance.download(), expected, kTolerance, 0) == "");
      CHECK(variance.guards_intact());
    }
  }
}

TEST_CASE("variational_gradients: chain rule and slope of the divergence, none for pruned weights") {
  constexpr float kStrength = 0.3f;
  const GuardedBuffer<float> strength(std::vector<float>{kStrength});
  for (const std::size_t count : kCounts) {
    const Weights weights(count);
    const std::vector<float> variance_gradient = random_floats(count, 3);
    const GuardedBuffer<float> on_gradient(variance_gradient);
    for (const bool masked : {false, true}) {
      GuardedBuffer<float> mean(count), log_variance(count);
      variational_gradients(weights.view(masked), on_gradient.data(), strength.data(), mean.data(), log_variance.data(),
                            nullptr);
      std::vector<double> of_mean, of_log_variance;
      for (std::size_t i = 0; i < count; ++i) {
        const bool lives = !masked || weights.keep[i];
        const double m = weights.mean[i], pull = double(kStrength) * divergence_slope(weights.log_alpha(i));
        of_mean.push_back(lives ? -2 * m / (m * m + 1e-8) * pull : 0);
        of_log_variance.push_back(
            lives ? double(variance_gradient[i]) * std::exp(double(weights.log_variance[i])) + pull : 0);
      }
      // Log alpha, of magnitude up to 25, is rounded to 1e-6, and slopes follow.
      CHECK(difference(mean.download(), of_mean, 1e-5, 1e-6) == "");
      CHECK(difference(log_variance.download(), of_log_variance, 1e-5, 1e-6) == "");
      CHECK((mean.guards_intact() && log_variance.guards_intact()));
    }
  }
}

TEST_CASE("signal_to_noise: the mean in deviations, and 0 where a weight is pruned") {
  for (const std::size_t count : kCounts) {
    const Weights weights(count);
    GuardedBuffer<float> score(count);
    signal_to_noise(weights.view(true), score.data(), nullptr);
    std::vector<double> expected;
    for (std::size_t i = 0; i < count; ++i) {
      const double deviations = std::abs(double(weights.mean[i])) * std::exp(-0.5 * double(weights.log_variance[i]));
      expected.push_back(weights.keep[i] ? deviations : 0.0);
    }
    CHECK(difference(score.download(), expected, kTolerance, 0) == "");
    CHECK(score.guards_intact());
  }
}

TEST_CASE("add_gaussian_noise: mean and deviation of fill_normal's numbers, in place too, anew in each step") {
  for (const std::size_t count : kCounts) {
    const std::vector<float> mean = random_floats(count, 4), variance = random_floats(count, 5, 0, 2);
    std::vector<float> earlier;
    for (const std::int64_t step : {0, 7}) {
      const GuardedBuffer<std::int64_t> on_step(std::vector<std::int64_t>{step});
      GuardedBuffer<float> normal(count), y(mean), slope(variance);
      fill_normal(index_t(count), {.seed = 11, .stream = std::uint64_t(step)}, 0, 1, normal.data(), nullptr);
      add_gaussian_noise(index_t(count), 11, on_step.data(), y.data(), slope.data(), y.data(), slope.data(), nullptr);
      const std::vector<float> e = normal.download();
      std::vector<double> expected, slopes;
      for (std::size_t i = 0; i < count; ++i) {
        const double deviation = std::sqrt(double(variance[i]) + 1e-8);
        expected.push_back(double(mean[i]) + deviation * double(e[i]));
        slopes.push_back(0.5 * double(e[i]) / deviation);
      }
      CHECK(difference(y.download(), expected, kTolerance, kTolerance) == "");
      CHECK(difference(slope.download(), slopes, kTolerance, 0) == "");
      CHECK((y.guards_intact() && slope.guards_intact()));
      CHECK(y.download() != earlier);
      earlier = y.download();
    }
  }
}

TEST_CASE("square_backward: twice x dy, in place too") {
  for (const std::size_t count : kCounts) {
    const std::vector<float> x = random_floats(count, 6), dy = random_floats(count, 7);
    const GuardedBuffer<float> on_x(x);
    GuardedBuffer<float> dx(dy);
    square_backward(index_t(count), on_x.data(), dx.data(), dx.data(), nullptr);
    const std::vector<float> found = dx.download();
    for (std::size_t i = 0; i < count; ++i) CHECK(found[i] == 2.0f * x[i] * dy[i]);
    CHECK(dx.guards_intact());
  }
}

}  // namespace espalier::kernels
