// Losses: gradients by finite differences and against PyTorch, use inside a captured graph, messages.
#include "layers/loss.h"

#include <doctest/doctest.h>

#include <cmath>

#include "core/device/graph.h"
#include "kernels/require.h"
#include "layers/gradient_check.h"
#include "tests/support/close.h"
#include "tests/support/golden.h"

namespace espalier {
namespace {

struct CrossEntropyOf : Module {
  CrossEntropyOf(Tensor given, float smoothing) : labels(std::move(given)), options{smoothing} {}
  Variable operator()(const Variable& x) override { return softmax_cross_entropy(x, labels, options); }
  Tensor labels;
  LossOptions options;
};

struct DistillationOf : Module {
  DistillationOf(Tensor given, Tensors from) : labels(std::move(given)), teachers(std::move(from)) {}
  Variable operator()(const Variable& x) override {
    return distillation_loss(x, labels, teachers, {.temperature = 3.0f, .weight = 0.6f});
  }
  Tensor labels;
  Tensors teachers;
};

struct SquaredErrorOf : Module {
  explicit SquaredErrorOf(Tensor given) : target(std::move(given)) {}
  Variable operator()(const Variable& x) override { return mean_squared_error(x, target); }
  Tensor target;
};

Tensor labels_i32(const std::vector<std::int32_t>& labels) {
  return Tensor::from({std::int64_t(labels.size())}, labels);
}

TEST_CASE("softmax_cross_entropy: gradient equals central differences, smoothed or not, for both label types") {
  const GradientCheckOptions fine{.tolerance = 1e-3};
  CHECK(gradient_check(CrossEntropyOf(labels_i32({2, 0, 4, 1}), 0.0f), {4, 5}, fine));
  CHECK(gradient_check(CrossEntropyOf(labels_i32({6}), 0.1f), {1, 7}, fine));
  const Tensor bytes = Tensor::from({3}, std::vector<std::uint8_t>{2, 0, 1});
  CHECK(gradient_check(CrossEntropyOf(bytes, 0.2f), {3, 3}, fine));
}

TEST_CASE("distillation_loss: gradient equals central differences, and nothing is left where pupil and teacher agree") {
  const Tensor one = Tensor::from({4, 5}, test::random_floats(20, 7)),
               two = Tensor::from({4, 5}, test::random_floats(20, 8));
  CHECK(gradient_check(DistillationOf(labels_i32({2, 0, 4, 1}), {one, two}), {4, 5}, {.tolerance = 1e-3}));
  Variable pupil(one, Gradient::required);
  Variable loss = distillation_loss(pupil, labels_i32({2, 0, 4, 1}), {one}, {.weight = 1.0f});
  loss.backward();
  CHECK(std::abs(loss.value().item()) < 1e-5f);
  CHECK(test::difference(pupil.gradient().to_host(), std::vector<double>(20, 0.0), 0, 1e-6) == "");
  const Tensor table = Tensor::from({8, 5}, test::random_floats(40, 9)), rows = labels_i32({7, 0, 3, 0});
  const float of_table = distillation_loss(pupil, labels_i32({2, 0, 4, 1}), {table}, {.rows = rows}).value().item();
  CHECK(std::isfinite(of_table));
  CHECK_THROWS_AS(distillation_loss(pupil, labels_i32({0, 1, 2, 3}), {table}), InvalidArgument);
  CHECK_THROWS_AS(distillation_loss(pupil, labels_i32({0, 1, 2, 3}), {table}, {.rows = labels_i32({0})}),
                  InvalidArgument);
  CHECK_THROWS_AS(distillation_loss(pupil, labels_i32({0, 1, 2, 3}), {Tensor::zeros({4, 6})}), InvalidArgument);
  CHECK_THROWS_AS(distillation_loss(pupil, labels_i32({0, 1, 2, 3}), {}), InvalidArgument);
}

TEST_CASE("mean_squared_error: gradient equals central differences") {
  const Tensor target = Tensor::from({3, 7}, test::random_floats(21, 5));
  CHECK(gradient_check(SquaredErrorOf(target), {3, 7}, {.tolerance = 1e-3}));
}

TEST_CASE("mean_squared_error: value of a known case") {
  const Tensor target = Tensor::from({2}, std::vector<float>{1, 2});
  CHECK(mean_squared_error(Variable(Tensor::from({2}, std::vector<float>{3, 2.5f})), target).value().item() == 2.125f);
}

TEST_CASE("softmax_cross_entropy: equals PyTorch") {
  const std::vector<test::GoldenCase> cases = test::golden_cases("cross_entropy");
  REQUIRE(!cases.empty());
  for (const test::GoldenCase& golden : cases) {
    INFO(golden.name);
    const Shape shape(golden["logits"].shape);
    std::vector<std::int32_t> labels;
    for (float label : golden["labels"].values) labels.push_back(std::int32_t(label));
    Variable logits(Tensor::from(shape, golden["logits"].values), Gradient::required);
    Variable loss = softmax_cross_entropy(logits, labels_i32(labels),
                                          {.label_smoothing = golden.attribute<float>("label_smoothing")});
    loss.backward();
    CHECK(test::difference(loss.value().to_host(), golden["loss"].values, 1e-6, 0) == "");
    CHECK(test::difference(logits.gradient().to_host(), golden["dlogits"].values, 1e-5, 1e-7) == "");
  }
}

TEST_CASE("softmax_cross_entropy: works in a captured graph, whose launches follow new logits") {
  const Tensor input = Tensor::from({2, 2}, std::vector<float>{0, 0, 0, 0});
  const Tensor labels = labels_i32({0, 1});
  Variable logits(input, Gradient::required);
  Tensor loss, gradient;
  const Graph step([&] {
    logits.clear_gradient();  // each run gives back what the one before it made
    loss = gradient = Tensor();
    Variable of = softmax_cross_entropy(logits, labels);
    of.backward();
    loss = of.value();
    gradient = logits.gradient();
  });
  step.launch();
  CHECK(loss.item() == doctest::Approx(std::log(2.0)));
  input.copy_from(Tensor::from({2, 2}, std::vector<float>{9, 0, 0, 9}));
  step.launch();
  CHECK(loss.item() == doctest::Approx(std::log1p(std::exp(-9.0))).epsilon(1e-3));
  CHECK(gradient.to_host()[0] == doctest::Approx(-0.5 / (1 + std::exp(9.0))).epsilon(1e-3));
}

TEST_CASE("losses: say what does not fit") {
  const Variable logits(Tensor::zeros({2, 3}));
  CHECK_THROWS_AS(softmax_cross_entropy(logits, labels_i32({0, 1, 2})), InvalidArgument);
  CHECK_THROWS_AS(softmax_cross_entropy(logits, Tensor::zeros({2})), InvalidArgument);
  CHECK_THROWS_AS(softmax_cross_entropy(Variable(Tensor::zeros({2, 3, 4, 4})), labels_i32({0, 1})), InvalidArgument);
  CHECK_THROWS_AS(softmax_cross_entropy(logits, labels_i32({0, 1}), {.label_smoothing = 1.5f}), InvalidArgument);
  CHECK_THROWS_AS(mean_squared_error(logits, Tensor::zeros({3, 2})), InvalidArgument);
}

}  // namespace
}  // namespace espalier
