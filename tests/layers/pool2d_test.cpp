#include "layers/pool2d.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <numeric>
#include <random>

#include "kernels/require.h"
#include "layers/gradient_check.h"
#include "layers/sequential.h"
#include "tests/support/close.h"
#include "tests/support/golden.h"

namespace espalier {
namespace {

// A shuffled arithmetic sequence: no two elements closer than `gap`, so no difference step changes a maximum.
Tensor separated_values(const Shape& shape, float gap) {
  std::vector<float> values(std::size_t(shape.size()));
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = gap * (float(i) - float(values.size()) / 2);
  std::shuffle(values.begin(), values.end(), std::mt19937(3));
  return Tensor::from(shape, std::span<const float>(values));
}

TEST_CASE("pool2d: gradient equals central differences, windows overlapping, padded, oblong images") {
  const Tensor x = separated_values({2, 2, 5, 6}, 0.05f);  // the step reaches 0.02 to either side
  for (std::int64_t window : {1, 2, 3}) {
    for (std::int64_t stride : {1, 2, 3}) {
      for (std::int64_t padding = 0; padding < window; ++padding) {
        INFO("window ", window, ", stride ", stride, ", padding ", padding);
        MaxPool2d max(window, {.stride = stride, .padding = padding});
        AvgPool2d average(window, {.stride = stride, .padding = padding});
        AvgPool2d inside(window, {.stride = stride, .padding = padding, .divisor = AverageDivisor::inside});
        for (Module* layer :
             {static_cast<Module*>(&max), static_cast<Module*>(&average), static_cast<Module*>(&inside)}) {
          const GradientReport report = gradient_check(*layer, x, {.tolerance = 1e-3});
          INFO(layer->kind(), ": ", report.worst);
          CHECK(report);
        }
      }
    }
  }
}

TEST_CASE("pool2d: forward and backward equal PyTorch's") {
  const std::vector<test::GoldenCase> cases = test::golden_cases("pool2d");
  REQUIRE(cases.size() == 12);
  for (const test::GoldenCase& golden : cases) {
    INFO(golden.name);
    const auto window = golden.attribute<std::int64_t>("window"), stride = golden.attribute<std::int64_t>("stride");
    const auto padding = golden.attribute<std::int64_t>("padding");
    std::unique_ptr<Module> layer;
    if (golden.name.starts_with("max")) {
      layer = std::make_unique<MaxPool2d>(window, Pool2dOptions{stride, padding});
    } else {
      const bool counts = golden.attribute<int>("count_padding") != 0;
      const AverageDivisor divisor = counts ? AverageDivisor::window : AverageDivisor::inside;
      layer = std::make_unique<AvgPool2d>(window, AvgPool2dOptions{stride, padding, divisor});
    }
    const auto &x = golden["x"], &dy = golden["dy"];
    Variable input(Tensor::from(Shape(x.shape), std::span<const float>(x.values)), Gradient::required);
    Variable y = (*layer)(input);
    REQUIRE(y.shape() == Shape(golden["y"].shape));
    y.backward(Tensor::from(y.shape(), std::span<const float>(dy.values)));
    CHECK(test::difference(y.value().to_host(), golden["y"].values, 1e-6, 1e-6) == "");
    CHECK(test::difference(input.gradient().to_host(), golden["dx"].values, 1e-6, 1e-6) == "");
  }
}

TEST_CASE("pool2d: the stride is the window unless told otherwise, and inference keeps no argmax") {
  CHECK(MaxPool2d(3).pool().stride == 3);
  CHECK(MaxPool2d(3, {.stride = 2, .padding = 1}).pool().stride == 2);
  CHECK(AvgPool2d(2)(Variable(Tensor::zeros({2, 3, 9, 8}))).shape() == Shape{2, 3, 4, 4});
  Context inference{.recording = false};
  MaxPool2dFunction(PoolWindow(2, 2, 0)).forward({Tensor::zeros({1, 1, 4, 4})}, inference);
  CHECK(inference.saved.empty());
}

TEST_CASE("pool2d: describes window, stride and padding; errors name the layer and the shape") {
  const Description description = AvgPool2d(3, {.padding = 1, .divisor = AverageDivisor::inside}).describe();
  CHECK(description.kind == "avg_pool2d");
  CHECK(std::get<std::int64_t>(description.attributes.at("window")) == 3);
  CHECK(std::get<std::int64_t>(description.attributes.at("stride")) == 3);
  CHECK(std::get<std::int64_t>(description.attributes.at("padding")) == 1);
  CHECK(std::get<std::string>(description.attributes.at("divisor")) == "inside");
  Sequential model(MaxPool2d(2), MaxPool2d(2));
  CHECK_THROWS_WITH_AS(model(Variable(Tensor::zeros({1, 1, 3, 3}))),
                       "max_pool2d_2: a window of 2 does not fit the image of [1, 1, 1, 1] with padding 0; did the "
                       "image size or an earlier stride change?",
                       InvalidArgument);
  CHECK_THROWS_AS(MaxPool2d(2)(Variable(Tensor::zeros({3, 8}))), InvalidArgument);
  CHECK_THROWS_AS(MaxPool2d(16), InvalidArgument);
  CHECK_THROWS_AS(AvgPool2d(2, {.padding = 2}), InvalidArgument);
}

}  // namespace
}  // namespace espalier
