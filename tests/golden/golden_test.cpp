// Whole computations against PyTorch's: convolution with every option, by both kinds of products, and a small network
// with batch norm through five training steps. The other golden files are compared in the tests of their layers.
#include <doctest/doctest.h>

#include <memory>
#include <string>
#include <vector>

#include "core/autograd/variable.h"
#include "core/device/math.h"
#include "core/train/sgd.h"
#include "layers/activation.h"
#include "layers/batch_norm.h"
#include "layers/conv2d.h"
#include "layers/dense.h"
#include "layers/flatten.h"
#include "layers/loss.h"
#include "layers/pool2d.h"
#include "layers/sequential.h"
#include "tests/support/close.h"
#include "tests/support/golden.h"

namespace espalier {
namespace {

Tensor tensor(const test::GoldenTensor& golden) {
  return Tensor::from(Shape(golden.shape), std::span<const float>(golden.values));
}

// fp32 sums of a few dozen products of order one: 1e-5 is about a hundred roundings.
std::string against(const Tensor& ours, const test::GoldenTensor& golden) {
  if (ours.shape() != Shape(golden.shape)) return "shape " + ours.shape().to_string();
  return test::difference(ours.to_host(), golden.values, 1e-5, 1e-5);
}

TEST_CASE("golden: convolution and its three gradients, handwritten and vendor") {
  const auto cases = test::golden_cases("conv2d");
  REQUIRE(cases.size() == 10);
  for (const Math math : {Math::handwritten, Math::vendor}) {
    const MathScope scope(math);
    for (const test::GoldenCase& golden : cases) {
      INFO(golden.name, ", ", to_string(math));
      const auto function = std::make_shared<Conv2dFunction>();
      function->stride = golden.attribute<std::int64_t>("stride");
      function->padding = golden.attribute<std::int64_t>("padding");
      function->dilation = golden.attribute<std::int64_t>("dilation");
      function->groups = golden.attribute<std::int64_t>("groups");
      Variable x(tensor(golden["x"]), Gradient::required), w(tensor(golden["w"]), Gradient::required),
          b(tensor(golden["b"]), Gradient::required);
      Variable y = apply(function, {x, w, b});
      y.backward(tensor(golden["dy"]));
      CHECK(against(y.value(), golden["y"]) == "");
      CHECK(against(x.gradient(), golden["dx"]) == "");
      CHECK(against(w.gradient(), golden["dw"]) == "");
      CHECK(against(b.gradient(), golden["db"]) == "");
    }
  }
}

TEST_CASE("golden: a network's logits, gradients and five steps of training") {
  const test::GoldenCase golden = test::golden_cases("network").at(0);
  Sequential model(Conv2d(1, 4), Relu(), MaxPool2d(2), Conv2d(4, 6, {.padding = 1}), BatchNorm2d(6), Relu(),
                   MaxPool2d(2), Flatten(), Dense(54, 16), Relu(), Dense(16, 10));
  const std::vector<Parameter*> parameters = model.parameters();
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    parameters[i]->value.set_value(tensor(golden["initial " + std::to_string(i)]));
  }
  std::vector<std::int32_t> classes(golden["labels"].values.begin(), golden["labels"].values.end());
  const Tensor x = tensor(golden["x"]), labels = Tensor::from({std::int64_t(classes.size())}, classes);
  Sgd optimizer(parameters, {.learning_rate = golden.attribute<float>("learning_rate"),
                             .momentum = golden.attribute<float>("momentum")});
  std::vector<float> losses;
  for (int step = 0; step < golden.attribute<int>("steps"); ++step) {
    optimizer.zero_gradients();
    const Variable logits = model(x);
    Variable loss = softmax_cross_entropy(logits, labels);
    loss.backward();
    losses.push_back(loss.value().item());
    if (step == 0) {
      CHECK(against(logits.value(), golden["logits"]) == "");
      for (std::size_t i = 0; i < parameters.size(); ++i) {
        INFO(parameters[i]->name);
        CHECK(against(parameters[i]->value.gradient(), golden["gradient " + std::to_string(i)]) == "");
      }
    }
    optimizer.step();
  }
  // Each step feeds its rounding to the next: ten times the tolerance after five.
  CHECK(test::difference(losses, golden["losses"].values, 1e-4, 1e-4) == "");
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    INFO(parameters[i]->name);
    const test::GoldenTensor& trained = golden["trained " + std::to_string(i)];
    CHECK(test::difference(parameters[i]->value.value().to_host(), trained.values, 1e-4, 1e-4) == "");
  }
}

}  // namespace
}  // namespace espalier
