// Batch norm layers: gradients by finite differences in both modes, PyTorch's numbers, running statistics, names.
#include "layers/batch_norm.h"

#include <doctest/doctest.h>

#include "kernels/require.h"
#include "layers/gradient_check.h"
#include "tests/support/close.h"
#include "tests/support/golden.h"

namespace espalier {
namespace {

using test::difference;
using test::random_floats;

// gamma, beta and running statistics away from their first values, so that each of them matters.
template <class Layer>
Layer lived_in(std::int64_t channels) {
  Layer layer(channels);
  const auto fill = [&](const Tensor& tensor, unsigned seed, float low, float high) {
    tensor.copy_from(Tensor::from(tensor.shape(), random_floats(std::size_t(channels), seed, low, high)));
  };
  fill(layer.gamma.value.value(), 1, 0.5f, 1.5f);
  fill(layer.beta.value.value(), 2, -1, 1);
  fill(layer.running_mean.value, 3, -0.5f, 0.5f);
  fill(layer.running_variance.value, 4, 0.5f, 2);
  return layer;
}

TEST_CASE("batch_norm: gradient equals central differences while training") {
  // The normalisation of a few values is strongly curved: a smaller step, and the noise that goes with it.
  const GradientCheckOptions options{.step = 4e-3f, .tolerance = 4e-3};
  CHECK(gradient_check(lived_in<BatchNorm1d>(3), {5, 3}, options));
  CHECK(gradient_check(lived_in<BatchNorm1d>(1), {4, 1, 7}, options));
  CHECK(gradient_check(lived_in<BatchNorm2d>(3), {2, 3, 5, 3}, options));
}

TEST_CASE("batch_norm: gradient equals central differences with running statistics") {
  BatchNorm2d image = lived_in<BatchNorm2d>(3);
  image.set_training(false);
  CHECK(gradient_check(image, {2, 3, 3, 5}, {.tolerance = 1e-3}));
  BatchNorm1d flat = lived_in<BatchNorm1d>(5);
  flat.set_training(false);
  CHECK(gradient_check(flat, {1, 5}, {.tolerance = 1e-3}));
}

template <class Layer>
void check_golden(const test::GoldenCase& golden) {
  Layer layer(golden["gamma"].shape[0],
              {.epsilon = golden.attribute<float>("epsilon"), .momentum = golden.attribute<float>("momentum")});
  const Shape channels{golden["gamma"].shape[0]};
  const auto set = [&](const Tensor& tensor, const char* name) {
    tensor.copy_from(Tensor::from(channels, golden[name].values));
  };
  set(layer.gamma.value.value(), "gamma");
  set(layer.beta.value.value(), "beta");
  set(layer.running_mean.value, "mean");
  set(layer.running_variance.value, "variance");
  layer.set_training(golden.attribute<int>("training") == 1);
  Variable x(Tensor::from(Shape(golden["x"].shape), golden["x"].values), Gradient::required);
  Variable y = layer(x);
  y.backward(Tensor::from(y.shape(), golden["dy"].values));
  const double tolerance = 1e-5;  // both sides round: a few hundred units in the last place of values of order 1
  CHECK(difference(y.value().to_host(), golden["y"].values, tolerance, tolerance) == "");
  CHECK(difference(x.gradient().to_host(), golden["dx"].values, tolerance, tolerance) == "");
  CHECK(difference(layer.gamma.value.gradient().to_host(), golden["dgamma"].values, tolerance, tolerance) == "");
  CHECK(difference(layer.beta.value.gradient().to_host(), golden["dbeta"].values, tolerance, tolerance) == "");
  CHECK(difference(layer.running_mean.value.to_host(), golden["mean_after"].values, tolerance, tolerance) == "");
  CHECK(difference(layer.running_variance.value.to_host(), golden["variance_after"].values, tolerance, tolerance) ==
        "");
}

TEST_CASE("batch_norm: equals PyTorch in training and evaluation, running statistics included") {
  const std::vector<test::GoldenCase> cases = test::golden_cases("norm", "batch_norm");
  REQUIRE(cases.size() == 4);
  for (const test::GoldenCase& golden : cases) {
    INFO(golden.name);
    if (golden["x"].shape.size() == 4)
      check_golden<BatchNorm2d>(golden);
    else
      check_golden<BatchNorm1d>(golden);
  }
}

TEST_CASE("batch_norm: lists its state, describes itself, names what does not fit") {
  BatchNorm2d layer(3, {.momentum = 0.25f});
  layer.set_name("batch_norm2d_1");
  CHECK(layer.parameters().size() == 2);
  REQUIRE(layer.buffers().size() == 2);
  CHECK(layer.buffers()[0]->name == "batch_norm2d_1.running_mean");
  const Description description = layer.describe();
  CHECK(description.kind == "batch_norm2d");
  CHECK(std::get<std::int64_t>(description.attributes.at("channels")) == 3);
  CHECK(std::get<double>(description.attributes.at("momentum")) == 0.25);
  CHECK_THROWS_AS(layer(Variable(Tensor::zeros({2, 4, 5, 5}))), InvalidArgument);
  CHECK_THROWS_AS(layer(Variable(Tensor::zeros({2, 3}))), InvalidArgument);
  CHECK_THROWS_AS(layer(Variable(Tensor::zeros({1, 3, 1, 1}))), InvalidArgument);
}

}  // namespace
}  // namespace espalier
