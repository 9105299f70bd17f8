#include "layers/dense.h"

#include <doctest/doctest.h>

#include "kernels/require.h"
#include "layers/activation.h"
#include "layers/gradient_check.h"
#include "layers/sequential.h"
#include "tests/support/close.h"
#include "tests/support/golden.h"

namespace espalier {
namespace {

using kernels::Activation;

constexpr Math kBoth[] = {Math::handwritten, Math::vendor};

Tensor tensor(const test::GoldenTensor& golden) {
  return Tensor::from(Shape(golden.shape), std::span<const float>(golden.values));
}

// A dense layer that keeps `activation` in its epilogue, as a module for gradient_check.
struct Fused : Module {
  Dense dense;
  Activation activation;
  Fused(Dense layer, Activation kind) : dense(std::move(layer)), activation(kind) {}
  Variable operator()(const Variable& x) override { return dense.with_activation(x, activation, 0.1f); }
  std::vector<Module*> children() override { return {&dense}; }
};

TEST_CASE("dense: gradient equals central differences, with and without bias, handwritten and vendor") {
  for (Math math : kBoth) {
    const MathScope scope(math);
    for (bool bias : {true, false}) {
      // Rounding of a sum of 7 products, 4e-7, over the step of 1e-2, times the 33 outputs' weights.
      const GradientReport report =
          gradient_check(Dense(7, 11, {.bias = bias, .seed = 3}), {3, 7}, {.tolerance = 1e-3});
      INFO(to_string(math), ", bias ", bias, ": ", report.worst);
      CHECK(report);
    }
    CHECK(gradient_check(Dense(1, 1), {1, 1}, {.tolerance = 1e-3}));
  }
}

TEST_CASE("dense: gradient through an activation in the epilogue equals central differences") {
  for (Math math : kBoth) {
    const MathScope scope(math);
    for (Activation activation : {Activation::sigmoid, Activation::tanh}) {
      const GradientReport report =
          gradient_check(Fused(Dense(5, 9, {.seed = 4}), activation), {4, 5}, {.tolerance = 1e-3});
      INFO(to_string(math), ", ", to_string(activation), ": ", report.worst);
      CHECK(report);
    }
  }
}

TEST_CASE("dense: an activation in the epilogue does what it does behind the layer") {
  const Tensor x = Tensor::from({19, 13}, test::random_floats(19 * 13, 5));
  const Tensor dy = Tensor::from({19, 17}, test::random_floats(19 * 17, 6));
  for (Activation activation : {Activation::relu, Activation::leaky_relu, Activation::sigmoid, Activation::tanh}) {
    const auto run = [&](bool fused) {
      Dense dense(13, 17, {.seed = 7});
      Variable input(x, Gradient::required);
      Variable y = fused ? dense.with_activation(input, activation, 0.25f)
                         : apply(std::make_shared<ActivationFunction>(activation, 0.25f), {dense(input)});
      y.backward(dy);
      return std::vector<Tensor>{y.value(), input.gradient(), dense.weight().value.gradient(),
                                 dense.bias()->value.gradient()};
    };
    const std::vector<Tensor> fused = run(true), apart = run(false);
    for (std::size_t i = 0; i < fused.size(); ++i) {
      INFO(to_string(activation), ", tensor ", i);
      CHECK(test::difference(fused[i].to_host(), apart[i].to_host(), 1e-6, 1e-6) == "");
    }
  }
}

TEST_CASE("dense: forward and backward equal PyTorch's") {
  for (Math math : kBoth) {
    const MathScope scope(math);
    for (const test::GoldenCase& golden : test::golden_cases("dense")) {
      INFO(golden.name, ", ", to_string(math));
      const Shape weight(golden["w"].shape);
      Dense dense(weight[1], weight[0]);
      dense.weight().value.set_value(tensor(golden["w"]));
      dense.bias()->value.set_value(tensor(golden["b"]));
      Variable x(tensor(golden["x"]), Gradient::required);
      Variable y = dense(x);
      y.backward(tensor(golden["dy"]));
      CHECK(test::difference(y.value().to_host(), golden["y"].values, 1e-5, 1e-5) == "");
      CHECK(test::difference(x.gradient().to_host(), golden["dx"].values, 1e-5, 1e-5) == "");
      CHECK(test::difference(dense.weight().value.gradient().to_host(), golden["dw"].values, 1e-5, 1e-5) == "");
      CHECK(test::difference(dense.bias()->value.gradient().to_host(), golden["db"].values, 1e-5, 1e-5) == "");
    }
  }
}

TEST_CASE("dense: handwritten and vendor products agree on a layer that splits k") {
  const Tensor x = Tensor::from({64, 1600}, test::random_floats(64 * 1600, 8));
  Dense dense(1600, 10, {.seed = 9});
  std::vector<std::vector<float>> results;
  for (Math math : kBoth) {
    const MathScope scope(math);
    results.push_back(dense(Variable(x)).value().to_host());
  }
  CHECK(test::norm_error(results[0], results[1]) < 1e-5);
}

TEST_CASE("dense: input of the wrong size is refused with the layer's place in the model") {
  Sequential model(Dense(4, 3), Dense(1568, 2));
  Module& second = model[1];
  CHECK_THROWS_WITH_AS(second(Variable(Tensor::zeros({2, 3136}))),
                       "dense_2: input has 3136 features, weight expects 1568; did the image size or a pool change?",
                       InvalidArgument);
  CHECK_THROWS_AS(second(Variable(Tensor::zeros({2, 2, 784}))), InvalidArgument);
}

TEST_CASE("dense: names its parameters and describes itself") {
  Sequential model(Dense(4, 3), Dense(3, 2, {.bias = false}));
  const std::vector<Parameter*> parameters = model.parameters();
  REQUIRE(parameters.size() == 3);
  CHECK(parameters[0]->name == "dense_1.weight");
  CHECK(parameters[1]->name == "dense_1.bias");
  CHECK(parameters[2]->name == "dense_2.weight");
  const Description description = model[1].describe();
  CHECK(description.kind == "dense");
  CHECK(std::get<std::int64_t>(description.attributes.at("in_features")) == 3);
  CHECK(std::get<std::int64_t>(description.attributes.at("out_features")) == 2);
  CHECK(std::get<std::int64_t>(description.attributes.at("bias")) == 0);
}

TEST_CASE("dense: the activation before it is passed on the way back, whichever of its inputs want a gradient") {
  const MathScope scope(Math::handwritten);
  for (const bool frozen : {false, true}) {
    Dense first(5, 7, {.seed = 1}), second(7, 3, {.seed = 2});
    if (frozen) second.weight().value = Variable(second.weight().value.value());
    struct Pair : Module {
      Dense &first, &second;
      Pair(Dense& a, Dense& b) : first(a), second(b) {}
      Variable operator()(const Variable& x) override {
        return second(first.with_activation(x, kernels::Activation::leaky_relu, 0.25f));
      }
      std::vector<Parameter*> own_parameters() override { return {&first.weight()}; }
    } pair(first, second);
    const GradientReport report = gradient_check(pair, {4, 5});
    CAPTURE(report.worst);
    CHECK(report.passed);
  }
}

}  // namespace
}  // namespace espalier
