// Layer norm: gradients by finite differences over one and several axes, PyTorch's numbers, messages.
#include "layers/layer_norm.h"

#include <doctest/doctest.h>

#include "kernels/require.h"
#include "layers/gradient_check.h"
#include "tests/support/close.h"
#include "tests/support/golden.h"

namespace espalier {
namespace {

using test::difference;

TEST_CASE("layer_norm: gradient equals central differences over one and several axes") {
  // The normalisation of a few values is strongly curved: a smaller step, and the noise that goes with it.
  const GradientCheckOptions options{.step = 4e-3f, .tolerance = 4e-3};
  LayerNorm layer({3, 5});
  layer.gamma.value.value().copy_from(Tensor::from({3, 5}, test::random_floats(15, 1, 0.5f, 1.5f)));
  CHECK(gradient_check(layer, {2, 3, 5}, options));
  CHECK(gradient_check(LayerNorm({7}), {2, 3, 7}, options));
  CHECK(gradient_check(LayerNorm({6}), {6}, options));
}

TEST_CASE("layer_norm: equals PyTorch") {
  const std::vector<test::GoldenCase> cases = test::golden_cases("norm", "layer_norm");
  REQUIRE(cases.size() == 2);
  for (const test::GoldenCase& golden : cases) {
    INFO(golden.name);
    const Shape normalised(golden["gamma"].shape);
    LayerNorm layer(normalised, golden.attribute<float>("epsilon"));
    layer.gamma.value.value().copy_from(Tensor::from(normalised, golden["gamma"].values));
    layer.beta.value.value().copy_from(Tensor::from(normalised, golden["beta"].values));
    Variable x(Tensor::from(Shape(golden["x"].shape), golden["x"].values), Gradient::required);
    Variable y = layer(x);
    y.backward(Tensor::from(y.shape(), golden["dy"].values));
    const double tolerance = 1e-5;  // both sides round: a few hundred units in the last place of values of order 1
    CHECK(difference(y.value().to_host(), golden["y"].values, tolerance, tolerance) == "");
    CHECK(difference(x.gradient().to_host(), golden["dx"].values, tolerance, tolerance) == "");
    CHECK(difference(layer.gamma.value.gradient().to_host(), golden["dgamma"].values, tolerance, tolerance) == "");
    CHECK(difference(layer.beta.value.gradient().to_host(), golden["dbeta"].values, tolerance, tolerance) == "");
  }
}

TEST_CASE("layer_norm: describes its axes and names what does not fit") {
  LayerNorm layer({3, 5});
  const Description description = layer.describe();
  CHECK(std::get<std::int64_t>(description.attributes.at("axes")) == 2);
  CHECK(std::get<std::int64_t>(description.attributes.at("extent_1")) == 5);
  CHECK_THROWS_AS(layer(Variable(Tensor::zeros({2, 5, 3}))), InvalidArgument);
  CHECK_THROWS_AS(layer(Variable(Tensor::zeros({5}))), InvalidArgument);
}

}  // namespace
}  // namespace espalier
