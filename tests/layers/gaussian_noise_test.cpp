#include "layers/gaussian_noise.h"

#include <doctest/doctest.h>

#include "layers/gradient_check.h"

namespace espalier {
namespace {

// Noise of variance x^2 on x, the same in each call.
struct NoisySquare : Module {
  Tensor step = Tensor::zeros({1}, DType::i64);
  Variable operator()(const Variable& x) override {
    const Variable variance = apply(std::make_shared<SquareFunction>(), {x});
    return apply(std::make_shared<GaussianNoiseFunction>(5, step), {x, variance});
  }
};

TEST_CASE("gaussian noise: gradients of mean and variance equal central differences at a fixed step") {
  const GradientReport report = gradient_check(NoisySquare(), {2, 3, 5, 7}, {.avoid_kinks = 0.1f});
  INFO(report.worst);
  CHECK(report);
}

TEST_CASE("gaussian noise: no noise where there is no variance, another at each step") {
  const Tensor mean = Tensor::full({1000}, 2.0f), step = Tensor::zeros({1}, DType::i64);
  const auto noisy = [&](float variance) {
    const auto function = std::make_shared<GaussianNoiseFunction>(5, step);
    return apply(function, {Variable(mean), Variable(Tensor::full({1000}, variance))}).value().to_host();
  };
  for (const float y : noisy(0.0f)) CHECK(y == doctest::Approx(2.0).epsilon(1e-3));
  const std::vector<float> first = noisy(1.0f), again = noisy(1.0f);
  const std::int64_t next = 1;
  step.upload(std::as_bytes(std::span(&next, 1)));
  CHECK(first == again);
  CHECK(first != noisy(1.0f));
}

}  // namespace
}  // namespace espalier
