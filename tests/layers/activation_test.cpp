#include "layers/activation.h"

#include <doctest/doctest.h>

#include "kernels/require.h"
#include "layers/gradient_check.h"
#include "tests/support/close.h"
#include "tests/support/golden.h"

namespace espalier {
namespace {

std::vector<std::unique_ptr<Module>> all_activations() {
  std::vector<std::unique_ptr<Module>> layers;
  layers.push_back(std::make_unique<Relu>());
  layers.push_back(std::make_unique<LeakyRelu>());
  layers.push_back(std::make_unique<Gelu>());
  layers.push_back(std::make_unique<Sigmoid>());
  layers.push_back(std::make_unique<Tanh>());
  return layers;
}

TEST_CASE("activation: gradient equals central differences") {
  for (const auto& layer : all_activations()) {
    // Rounding of y, 1e-7 times its 1 to 2, over the step of 1e-2, times four; the fourth-order error is below that.
    const GradientReport report = gradient_check(*layer, {2, 3, 5, 7}, {.tolerance = 2e-4, .low = -2, .high = 2});
    INFO(layer->kind(), ": ", report.worst);
    CHECK(report);
  }
  CHECK(gradient_check(LeakyRelu(0.5f), {3, 11}, {.tolerance = 2e-4}));
}

TEST_CASE("activation: forward and backward equal PyTorch's") {
  for (const auto& layer : all_activations()) {
    const test::GoldenCase golden = test::golden_cases("activation", std::string(layer->kind())).at(0);
    INFO(golden.name);
    const auto& x = golden["x"];
    Variable input(Tensor::from(Shape(x.shape), std::span<const float>(x.values)), Gradient::required);
    Variable y = (*layer)(input);
    y.backward(Tensor::from(Shape(x.shape), std::span<const float>(golden["dy"].values)));
    CHECK(test::difference(y.value().to_host(), golden["y"].values, 1e-6, 1e-6) == "");
    CHECK(test::difference(input.gradient().to_host(), golden["dx"].values, 1e-6, 2e-6) == "");
  }
}

TEST_CASE("activation: only gelu keeps its input, inference keeps nothing") {
  const Tensor x = Tensor::full({4}, 1.0f);
  for (const auto& layer : all_activations()) {
    const auto activation = dynamic_cast<ActivationLayer&>(*layer).activation();
    Context context, inference{.recording = false};
    const Tensor y = ActivationFunction(activation).forward({x}, context);
    CHECK(context.saved.at(0).raw() == (activation == kernels::Activation::gelu ? x.raw() : y.raw()));
    ActivationFunction(activation).forward({x}, inference);
    CHECK(inference.saved.empty());
  }
}

TEST_CASE("activation: describes itself by its name; a leaky relu tells its slope and refuses a negative one") {
  CHECK(Gelu().describe().kind == "gelu");
  CHECK(Relu().describe().attributes.empty());
  CHECK(std::get<double>(LeakyRelu(0.25f).describe().attributes.at("slope")) == 0.25);
  CHECK_THROWS_AS(LeakyRelu(-1), InvalidArgument);
}

}  // namespace
}  // namespace espalier
