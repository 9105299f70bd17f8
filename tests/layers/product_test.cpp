#include <doctest/doctest.h>

#include "kernels/require.h"
#include "layers/activation.h"
#include "layers/conv2d.h"
#include "layers/dense.h"
#include "layers/gradient_check.h"
#include "layers/sequential.h"
#include "tests/support/close.h"

namespace espalier {
namespace {

Tensor random_tensor(Shape shape, unsigned seed) {
  return Tensor::from(shape, test::random_floats(std::size_t(shape.size()), seed));
}

TEST_CASE("dense: gradient equals central differences, with and without bias, by both implementations") {
  for (const Math math : {Math::handwritten, Math::vendor}) {
    const MathScope scope(math);
    CHECK(gradient_check(Dense(5, 3), {4, 5}));
    CHECK(gradient_check(Dense(7, 1, {.bias = false}), {1, 7}));
  }
}

TEST_CASE("conv2d: gradient equals central differences for every option, by both implementations") {
  for (const Math math : {Math::handwritten, Math::vendor}) {
    const MathScope scope(math);
    CHECK(gradient_check(Conv2d(2, 3), {2, 2, 4, 5}));
    CHECK(gradient_check(Conv2d(1, 2, {.kernel = 2, .stride = 2, .padding = 1}), {2, 1, 5, 4}));
    CHECK(gradient_check(Conv2d(2, 2, {.padding = 2, .dilation = 2, .bias = false}), {1, 2, 4, 4}));
    CHECK(gradient_check(Conv2d(4, 4, {.padding = 1, .groups = 4}), {1, 4, 3, 3}));
    CHECK(gradient_check(Conv2d(4, 2, {.kernel = 1, .groups = 2}), {2, 4, 2, 3}));
  }
}

TEST_CASE("sequential: an activation taken into a product changes neither result nor gradient") {
  for (const auto activation : {kernels::Activation::relu, kernels::Activation::tanh}) {
    Conv2d conv(1, 2, {.seed = 3});
    const Variable x(random_tensor({2, 1, 5, 5}, 1), Gradient::required);
    Variable fused = conv.with_activation(x, activation, 0.0f);
    Variable apart = apply(std::make_shared<ActivationFunction>(activation), {conv(x)});
    CHECK(test::difference(fused.value().to_host(), apart.value().to_host(), 1e-6, 1e-7) == "");
    const Tensor dy = random_tensor(fused.shape(), 2);
    fused.backward(dy);
    const auto gradient = x.gradient().to_host();
    const_cast<Variable&>(x).clear_gradient();
    apart.backward(dy);
    CHECK(test::difference(gradient, x.gradient().to_host(), 1e-5, 1e-6) == "");
  }
  CHECK(gradient_check(Sequential(Dense(4, 6), LeakyRelu(0.2f), Dense(6, 2), Tanh()), {3, 4}));
}

TEST_CASE("products: inputs that do not fit are refused with layer, values and fix") {
  Sequential model(Dense(4, 6), Dense(5, 2));
  CHECK_THROWS_WITH_AS(model(Tensor::zeros({3, 4})),
                       "dense_2: input has 6 features, weight expects 5; did the image size or a pool change?",
                       InvalidArgument);
  CHECK_THROWS_AS(model(Tensor::zeros({3, 4, 1})), InvalidArgument);
  Conv2d conv(3, 8);
  CHECK_THROWS_WITH_AS(conv(Tensor::zeros({1, 1, 8, 8})),
                       "conv2d: input [1, 1, 8, 8] has 1 channels, weight [8, 3, 3, 3] in 1 group(s) expects 3; did "
                       "the filters of the layer before change?",
                       InvalidArgument);
  CHECK_THROWS_AS(conv(Tensor::zeros({1, 3, 2, 2})), InvalidArgument);
  CHECK_THROWS_AS(Conv2d(3, 8, {.groups = 2}), InvalidArgument);
}

}  // namespace
}  // namespace espalier
