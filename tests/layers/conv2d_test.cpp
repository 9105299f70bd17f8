// Convolution layers: gradients by finite differences for every option, fused activations, errors, what is computed.
#include "layers/conv2d.h"

#include <doctest/doctest.h>

#include <cmath>

#include "kernels/require.h"
#include "layers/activation.h"
#include "layers/gradient_check.h"
#include "layers/sequential.h"
#include "tests/support/close.h"

namespace espalier {
namespace {

using test::random_floats;

// The product is linear in each input: differences are exact but for the rounding of the forward pass, which is
// 1e-7 * a sum of about 20 terms of order 1, divided by the step.
constexpr GradientCheckOptions kLinear{.step = 0.1f, .tolerance = 2e-4};

// With a bias away from its first value, zero.
Conv2d lived_in(std::int64_t channels, std::int64_t filters, const Conv2dOptions& options) {
  Conv2d layer(channels, filters, options);
  if (Parameter* bias = layer.bias()) {
    const Tensor& value = bias->value.value();
    value.copy_from(Tensor::from(value.shape(), random_floats(std::size_t(filters), 7)));
  }
  return layer;
}

std::string complaint(Conv2d& layer, const Shape& input) {
  try {
    layer(Variable(Tensor::zeros(input)));
    return "";
  } catch (const InvalidArgument& error) {
    return error.what();
  }
}

TEST_CASE("conv2d layer: gradient equals central differences for every option") {
  for (const Conv2dOptions& options : {Conv2dOptions{},
                                       {.padding = 1},
                                       {.kernel = 1},
                                       {.kernel = 2, .stride = 2},
                                       {.kernel = 5, .padding = 2},
                                       {.stride = 2, .padding = 1},
                                       {.padding = 2, .dilation = 2},
                                       {.stride = 3, .padding = 3, .dilation = 2},
                                       {.padding = 1, .groups = 2},
                                       {.bias = false}}) {
    INFO("kernel ", options.kernel, ", stride ", options.stride, ", padding ", options.padding, ", dilation ",
         options.dilation, ", groups ", options.groups, ", bias ", options.bias);
    const GradientReport report = gradient_check(lived_in(2, 4, options), {2, 2, 5, 6}, kLinear);
    INFO(report.worst);
    CHECK(report);
  }
}

TEST_CASE("conv2d layer: gradient equals central differences by the vendor's product") {
  const MathScope vendor(Math::vendor);
  CHECK(gradient_check(lived_in(2, 4, {.padding = 1}), {2, 2, 5, 6}, kLinear));
  CHECK(gradient_check(lived_in(2, 4, {.stride = 2, .padding = 1, .groups = 2}), {2, 2, 5, 4}, kLinear));
}

TEST_CASE("conv2d layer: depthwise, with one and with two filters a channel") {
  CHECK(gradient_check(lived_in(3, 3, {.padding = 1, .groups = 3}), {2, 3, 4, 5}, kLinear));
  CHECK(gradient_check(lived_in(3, 6, {.stride = 2, .groups = 3}), {1, 3, 5, 5}, kLinear));
}

TEST_CASE("conv2d layer: gradient flows through an activation that was fused") {
  CHECK(gradient_check(Sequential(lived_in(2, 3, {.padding = 1}), Tanh()), {2, 2, 4, 3}));
  CHECK(gradient_check(Sequential(lived_in(2, 3, {}), Sigmoid()), {1, 2, 4, 5}));
}

TEST_CASE("conv2d layer: a fused activation gives what the activation alone gives") {
  const Variable x(Tensor::from({2, 3, 6, 5}, random_floats(180, 3)));
  Conv2d layer = lived_in(3, 4, {.padding = 1});
  const Variable product = layer(x);
  LeakyRelu leaky(0.2f);
  CHECK(layer.with_activation(x, kernels::Activation::relu, 0).value().to_host() == Relu()(product).value().to_host());
  CHECK(layer.with_activation(x, kernels::Activation::leaky_relu, 0.2f).value().to_host() ==
        leaky(product).value().to_host());
}

// The product of all sums with dy is the same by y, by dx and by dw: the convolution is linear in x and in w.
TEST_CASE("conv2d layer: y and gradients of many channels, which a GPU convolves in a workspace, belong together") {
  const Shape shape{8, 64, 28, 28};
  Conv2d layer(64, 64, {.padding = 1, .bias = false});
  Variable x(Tensor::from(shape, random_floats(std::size_t(shape.size()), 1)), Gradient::required);
  const Tensor dy = Tensor::from(shape, random_floats(std::size_t(shape.size()), 2));
  Variable y = layer(x);
  y.backward(dy);
  const auto dot = [](const Tensor& a, const Tensor& b) {
    const std::vector<float> left = a.to_host(), right = b.to_host();
    double sum = 0;
    for (std::size_t i = 0; i < left.size(); ++i) sum += double(left[i]) * double(right[i]);
    return sum;
  };
  const double by_result = dot(y.value(), dy);
  const double tolerance = 1e-5 * std::sqrt(dot(y.value(), y.value()) * dot(dy, dy));
  CHECK(std::abs(dot(x.value(), x.gradient()) - by_result) < tolerance);
  CHECK(std::abs(dot(layer.weight().value.value(), layer.weight().value.gradient()) - by_result) < tolerance);
}

TEST_CASE("conv2d layer: computes only the gradients that are asked for") {
  Conv2d layer = lived_in(2, 3, {});
  const Tensor images = Tensor::from({2, 2, 4, 4}, random_floats(64, 1));
  Variable all(images, Gradient::required);
  const Tensor dy = Tensor::from({2, 3, 2, 2}, random_floats(24, 2));
  layer(all).backward(dy);
  const std::vector<float> dw = layer.weight().value.gradient().to_host();
  const std::vector<float> db = layer.bias()->value.gradient().to_host();

  Conv2dFunction function;
  Context context;
  function.forward({images, layer.weight().value.value(), layer.bias()->value.value()}, context);
  context.needs_gradient = {false, true, true};
  Tensors gradients = function.backward(dy, context);
  CHECK(!gradients[0].defined());
  CHECK(gradients[1].to_host() == dw);
  CHECK(gradients[2].to_host() == db);
  context.needs_gradient = {false, false, true};
  gradients = function.backward(dy, context);
  CHECK(!gradients[1].defined());
  CHECK(test::difference(gradients[2].to_host(), db, 1e-6, 1e-6) == "");
}

TEST_CASE("conv2d layer: the weights are Kaiming for relu and follow the seed") {
  const auto weights = [](std::uint64_t seed) {
    return Conv2d(8, 16, {.seed = seed}).weight().value.value().to_host();
  };
  CHECK(weights(1) == weights(1));
  CHECK(weights(1) != weights(2));
  double squares = 0;
  for (float w : weights(3)) squares += double(w) * double(w);
  CHECK(squares / (16 * 8 * 9) == doctest::Approx(2.0 / (8 * 9)).epsilon(0.1));  // variance 2 / fan_in
}

TEST_CASE("conv2d layer: errors name the layer, the values and the fix") {
  Conv2d layer(3, 8, {.padding = 1});
  layer.set_name("conv2d_2");
  CHECK(
      complaint(layer, {4, 16, 7, 7}) ==
      "conv2d_2: input [4, 16, 7, 7] has 16 channels, weight [8, 3, 3, 3] in 1 group(s) expects 3; did the filters of "
      "the layer before change?");
  CHECK(complaint(layer, {4, 3}).find("must be images [N, C, H, W]") != std::string::npos);
  Conv2d wide(1, 1, {.kernel = 5});
  CHECK(complaint(wide, {1, 1, 4, 4}) ==
        "conv2d: a kernel of 5 x 5 with dilation 1 does not fit into an image of 4 x 4 with padding 0; pad more or "
        "take a smaller kernel");
  CHECK_THROWS_WITH_AS(Conv2d(3, 4, {.groups = 2}), "conv2d: 2 groups must divide 3 channels and 4 filters",
                       InvalidArgument);
  CHECK_THROWS_AS(Conv2d(3, 4, {.groups = 0}), InvalidArgument);
  CHECK_THROWS_AS(Conv2d(3, 0), InvalidArgument);
  CHECK_THROWS_AS(Conv2d(3, 4, {.stride = 0}), InvalidArgument);
}

}  // namespace
}  // namespace espalier
