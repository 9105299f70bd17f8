#include "layers/dropout.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "core/device/graph.h"
#include "kernels/require.h"
#include "layers/gradient_check.h"
#include "layers/sequential.h"

namespace espalier {
namespace {

std::int64_t step_of(Module& layer) { return layer.buffers().at(0)->value.to_host_as<std::int64_t>().at(0); }

void set_step(Module& layer, std::int64_t step) {
  layer.buffers().at(0)->value.upload(std::as_bytes(std::span(&step, 1)));
}

std::vector<float> run(Module& layer, const Tensor& x) { return layer(Variable(x)).value().to_host(); }

TEST_CASE("dropout: gradient equals central differences at a fixed step") {
  struct FixedStep : Module {
    Dropout dropout{0.4, 5};
    Variable operator()(const Variable& x) override {
      set_step(dropout, 7);
      return dropout(x);
    }
  };
  const GradientReport report = gradient_check(FixedStep(), {2, 3, 5, 7}, {.tolerance = 1e-3});
  INFO(report.worst);
  CHECK(report);
}

TEST_CASE("dropout: zeroes and scales in training, is the identity in evaluation") {
  Dropout layer(0.25, 3);
  const Tensor x = Tensor::full({100, 41}, 1.0f);
  const std::vector<float> y = run(layer, x);
  CHECK(std::all_of(y.begin(), y.end(), [](float value) { return value == 0 || value == float(1 / 0.75); }));
  const auto dropped = double(std::count(y.begin(), y.end(), 0.0f)) / double(y.size());
  CHECK(std::abs(dropped - 0.25) < 0.034);  // five standard errors of 4100 draws
  layer.set_training(false);
  CHECK(layer(Variable(x)).value().raw() == x.raw());
  CHECK(step_of(layer) == 1);
}

TEST_CASE("dropout: each run draws anew, the same step draws the same") {
  Dropout layer(0.5, 3);
  const Tensor x = Tensor::full({64}, 1.0f);
  const std::vector<float> first = run(layer, x), second = run(layer, x);
  CHECK(first != second);
  CHECK(step_of(layer) == 2);
  set_step(layer, 0);
  CHECK(run(layer, x) == first);
}

TEST_CASE("dropout: two layers of a model differ under one seed") {
  Sequential model(Dropout(0.5, 3), Dropout(0.5, 3));
  const Tensor x = Tensor::full({64}, 1.0f);
  CHECK(run(model[0], x) != run(model[1], x));
}

TEST_CASE("dropout: a captured graph draws anew at each launch, as running step by step does") {
  const Tensor x = Tensor::full({64}, 1.0f), y = Tensor::like(x);
  Dropout eager(0.5, 3), captured(0.5, 3);
  std::vector<std::vector<float>> expected;
  for (int step = 0; step < 4; ++step) expected.push_back(run(eager, x));
  const Graph graph([&] { y.copy_from(captured(Variable(x)).value()); });
  CHECK(y.to_host() == expected[0]);
  for (std::size_t step = 1; step < 4; ++step) {
    graph.launch();
    CHECK(y.to_host() == expected[step]);
  }
  CHECK(step_of(captured) == 4);
}

TEST_CASE("dropout: describes probability and seed, counts its steps in a buffer, refuses what is no probability") {
  Dropout layer(0.2, 9);
  CHECK(std::get<double>(layer.describe().attributes.at("probability")) == 0.2);
  CHECK(std::get<std::int64_t>(layer.describe().attributes.at("seed")) == 9);
  layer.set_name("dropout_1");
  CHECK(layer.buffers().at(0)->name == "dropout_1.step");
  CHECK_THROWS_AS(Dropout(1.5), InvalidArgument);
}

}  // namespace
}  // namespace espalier
