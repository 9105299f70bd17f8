// A convolution with its activation and pool in one operation equals the three, forward and backward, wherever it
// stands for them: in a Sequential, in the tape and in a plan.
#include "layers/conv_pool.h"

#include <doctest/doctest.h>

#include "core/autograd/trace.h"
#include "kernels/require.h"
#include "layers/gradient_check.h"
#include "layers/layers.h"
#include "tests/support/close.h"

namespace espalier {
namespace {

struct Case {
  Shape input;
  Conv2dOptions options;
  std::int64_t filters;
};

const Case kCases[] = {{{2, 1, 6, 6}, {.kernel = 3, .seed = 1}, 3},
                       {{1, 2, 7, 9}, {.kernel = 2, .stride = 2, .padding = 1, .bias = false, .seed = 2}, 5},
                       {{3, 4, 5, 6}, {.kernel = 3, .padding = 1, .groups = 2, .seed = 3}, 4},
                       {{2, 3, 9, 8}, {.kernel = 3, .dilation = 2, .seed = 4}, 2},
                       {{1, 1, 7, 6}, {.kernel = 5, .padding = 2, .seed = 6}, 3}};

Tensor random_images(const Shape& shape, unsigned seed) {
  return Tensor::from(shape, std::span<const float>(test::random_floats(std::size_t(shape.size()), seed)));
}

Sequential alone(const Case& of) { return Sequential(Conv2d(of.input[1], of.filters, of.options), MaxPool2d(2)); }
Sequential before_pool(const Case& of) {
  return Sequential(Conv2d(of.input[1], of.filters, of.options), LeakyRelu(0.1f), MaxPool2d(2));
}
Sequential after_pool(const Case& of) {
  return Sequential(Conv2d(of.input[1], of.filters, of.options), MaxPool2d(2), Relu());
}

std::vector<std::string> functions_of(Module& model, const Tensor& images) {
  std::vector<std::string> names;
  for (const Trace::Step& step : trace([&](const Variable& x) { return model(x); }, images).steps) {
    names.emplace_back(step.function->name());
  }
  return names;
}

struct Run {
  std::vector<float> y, dx;
  std::vector<std::vector<float>> gradients;
};

Run run(Module& model, const Tensor& images, Math math) {
  const MathScope scope(math);
  for (Parameter* parameter : model.parameters()) parameter->value.clear_gradient();
  const Variable x(images, Gradient::required);
  Variable y = model(x);
  y.backward(random_images(y.shape(), 9));
  Run result{y.value().to_host(), x.gradient().to_host(), {}};
  for (Parameter* parameter : model.parameters()) result.gradients.push_back(parameter->value.gradient().to_host());
  return result;
}

void check_against_layers(Module& model, const Tensor& images) {
  const Run fused = run(model, images, Math::handwritten), layers = run(model, images, Math::vendor);
  // Sums of at most 50 products of numbers below 1, and of a whole plane for the weights.
  CHECK(test::difference(fused.y, layers.y, 1e-5, 1e-5) == "");
  CHECK(test::difference(fused.dx, layers.dx, 1e-5, 1e-5) == "");
  for (std::size_t i = 0; i < fused.gradients.size(); ++i) {
    CHECK(test::difference(fused.gradients[i], layers.gradients[i], 1e-4, 1e-4) == "");
  }
}

}  // namespace

TEST_CASE("conv_pool: value and gradients equal those of the layers one after the other") {
  for (const Case& of : kCases) {
    CAPTURE(of.input.to_string());
    const Tensor images = random_images(of.input, 3);
    Sequential models[] = {alone(of), before_pool(of), after_pool(of)};
    for (Sequential& model : models) check_against_layers(model, images);
  }
}

TEST_CASE("conv_pool: gradient of every coordinate equals central differences") {
  const GradientCheckOptions fine{.step = 2e-3f, .tolerance = 3e-2};  // small steps seldom move a window's maximum
  for (const Case& of : kCases) {
    CAPTURE(of.input.to_string());
    for (const GradientReport& report :
         {gradient_check(alone(of), of.input, fine), gradient_check(before_pool(of), of.input, fine),
          gradient_check(after_pool(of), of.input, fine)}) {
      CAPTURE(report.worst);
      CHECK(report.passed);
    }
  }
}

TEST_CASE("conv_pool: a sequential takes in what fits, in either order, and nothing else") {
  const Tensor images = random_images({2, 1, 12, 12}, 1);
  const std::vector<std::string> block{"conv2d_max_pool2d"};
  Sequential both_orders[] = {Sequential(Conv2d(1, 2), Relu(), MaxPool2d(2)),
                              Sequential(Conv2d(1, 2), MaxPool2d(2), Relu()), Sequential(Conv2d(1, 2), MaxPool2d(2))};
  for (Sequential& model : both_orders) {
    CHECK(functions_of(model, images) == block);
    const MathScope vendor(Math::vendor);
    CHECK(functions_of(model, images).front() == "conv2d");
  }
  Sequential curved(Conv2d(1, 2), Tanh(), MaxPool2d(2)), overlapping(Conv2d(1, 2), MaxPool2d(3, {.stride = 2})),
      twice(Conv2d(1, 2), Relu(), Relu(), MaxPool2d(2)), bent(Conv2d(1, 2), MaxPool2d(2), Gelu());
  CHECK(functions_of(curved, images) == std::vector<std::string>{"conv2d", "max_pool2d"});
  CHECK(functions_of(overlapping, images) == std::vector<std::string>{"conv2d", "max_pool2d"});
  CHECK(functions_of(twice, images) == std::vector<std::string>{"conv2d", "relu", "max_pool2d"});
  CHECK(functions_of(bent, images) == std::vector<std::string>{"conv2d_max_pool2d", "gelu"});
}

TEST_CASE("conv_pool: an image that leaves nothing to pool is refused with its size") {
  Sequential model(Conv2d(1, 2, {.kernel = 5}), MaxPool2d(2));
  CHECK_THROWS_WITH_AS(model(Variable(Tensor::zeros({1, 1, 5, 9}))), doctest::Contains("1 x 5 is too small"),
                       InvalidArgument);
}

}  // namespace espalier
