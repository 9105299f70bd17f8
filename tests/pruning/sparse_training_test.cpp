// Which weights train sparse, when steps are dense nevertheless, and what a checkpoint keeps of it.
#include "pruning/sparse_training.h"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include "kernels/require.h"
#include "pruning/pruner.h"
#include "tests/support/close.h"
#include "tests/support/small_run.h"

namespace espalier::pruning {
namespace {

struct Steps {
  Sequential model = test::small_model();
  Sgd optimizer{model.parameters(), {.learning_rate = 0.05f, .momentum = 0.9f}};
  Tensor images = Tensor::from({6, 1, 12, 12}, test::random_floats(6 * 144, 1));
  Tensor labels = Tensor::from({6}, std::vector<std::int32_t>{0, 1, 2, 3, 4, 5});
  Parameter& dense() { return *model.parameters()[4]; }

  void update() {
    optimizer.zero_gradients();
    softmax_cross_entropy(model(images), labels).backward();
    optimizer.step();
  }
};

constexpr SparseTrainingOptions kOn{.when = SparseTraining::on, .threshold = 0.7};

TEST_CASE("sparse training: nothing unless asked; from the threshold on where the layer can") {
  Steps steps;
  REQUIRE(steps.dense().name == "dense_1.weight");
  Pruner off(steps.model, {.scope = Scope::local});
  off.prune_to(0.8);
  CHECK(steps.dense().kept() == nullptr);
  CHECK(off.sparse_training().empty());

  Pruner below(steps.model, {.scope = Scope::local, .sparse_training = {.when = SparseTraining::on}});
  below.prune_to(0.81);
  CHECK(steps.dense().kept() == nullptr);
  CHECK(below.sparse_training().back().reason.ends_with("sparse from 90.0 %"));

  Pruner on(steps.model, {.scope = Scope::local, .sparse_training = kOn});
  on.prune_to(0.82);
  CHECK(steps.dense().kept() != nullptr);
  const std::vector<SparseTrainingChoice> choices = on.sparse_training();
  REQUIRE(choices.size() == 2);
  CHECK_FALSE(choices[0].sparse);
  CHECK(choices[0].reason == "windows of 9 weights are below 64: its maps cost more than its products");
  CHECK(choices[1].sparse);
  CHECK(choices[1].parameter == "dense_1.weight");
  CHECK(choices[1].reason == "82.0 % are pruned, sparse from 70.0 %");
}

TEST_CASE("sparse training: a convolution of large windows trains sparse, with the steps of a dense one") {
  std::vector<float> weights[2];
  for (const bool sparse : {false, true}) {
    Steps steps;
    SparseTrainingOptions options = kOn;
    options.least_window = sparse ? 9 : 10;
    Pruner pruner(steps.model, {.scope = Scope::local, .sparse_training = options});
    pruner.prune_to(0.75);
    Parameter& weight = *steps.model.parameters()[0];
    CHECK((weight.kept() != nullptr) == sparse);
    for (int step = 0; step < 5; ++step) steps.update();
    weights[sparse] = weight.value.value().to_host();
    const auto keep = weight.mask()->keep.to_host_as<std::uint8_t>();
    for (std::size_t i = 0; i < keep.size(); ++i) CHECK((keep[i] || weights[sparse][i] == 0.0f));
  }
  CHECK(test::difference(weights[1], weights[0], 1e-4, 1e-5) == "");
}

TEST_CASE("sparse training: a convolution is measured as it is called, so after a step at the earliest") {
  Steps steps;
  Pruner pruner(steps.model,
                {.scope = Scope::local, .sparse_training = {.when = SparseTraining::measured, .batch = 2}});
  pruner.prune_to(0.8);
  CHECK(pruner.sparse_training().size() == 1);
  steps.update();
  pruner.step();
  const std::vector<SparseTrainingChoice> choices = pruner.sparse_training();
  REQUIRE(choices.size() == 2);
  CHECK(choices[0].parameter == "conv2d_1.weight");
  CHECK((steps.model.parameters()[0]->kept() != nullptr) == choices[0].sparse);
  CHECK(pruner.record().find("\"conv2d_1.weight\"") != std::string::npos);
}

TEST_CASE("sparse training: the structure stays while the mask does") {
  Steps steps;
  Pruner pruner(steps.model, {.scope = Scope::local, .sparse_training = kOn});
  pruner.prune_to(0.8);
  const auto kept = steps.dense().kept();
  steps.update();
  pruner.step();
  CHECK(steps.dense().kept() == kept);
  pruner.prune_to(0.9);
  CHECK(steps.dense().kept() != kept);
}

TEST_CASE("sparse training: the step before a regrowth by gradient is dense, one at random is not") {
  for (const bool by_gradient : {true, false}) {
    CAPTURE(by_gradient);
    Steps steps;
    Pruner pruner(steps.model, {.scope = Scope::local,
                                .regrowth = Regrowth{.growth = by_gradient ? grow_by_gradient() : grow_at_random(3),
                                                     .begin = 0,
                                                     .end = 20,
                                                     .every = 3,
                                                     .reads_gradients = by_gradient},
                                .sparse_training = kOn});
    pruner.prune_to(0.8);
    for (int step = 0; step < 9; ++step) {
      const bool due = step > 0 && step % 3 == 0;
      CAPTURE(step);
      CHECK((steps.dense().kept() == nullptr) == (due && by_gradient));
      const auto before = steps.dense().mask()->keep.to_host_as<std::uint8_t>();
      steps.update();
      pruner.step();
      CHECK((steps.dense().mask()->keep.to_host_as<std::uint8_t>() != before) == due);
      CHECK(steps.dense().mask()->kept() == 150);
    }
  }
}

TEST_CASE("sparse training: where every step needs all gradients, none is sparse and the pruner says why") {
  Steps steps;
  Pruner pruner(steps.model, {.scope = Scope::local, .splicing = Splicing{}, .sparse_training = kOn});
  pruner.prune_to(0.8);
  CHECK(steps.dense().kept() == nullptr);
  CHECK(pruner.always_dense() == "splicing trains pruned weights in a shadow");
}

TEST_CASE("sparse training: weights follow those of dense training") {
  std::vector<float> weights[2];
  for (const bool sparse : {false, true}) {
    Steps steps;
    Pruner pruner(steps.model, {.scope = Scope::local,
                                .schedule = cubic({.to = 0.9, .begin = 0, .end = 8, .every = 2}),
                                .sparse_training = sparse ? kOn : SparseTrainingOptions{}});
    for (int step = 0; step < 12; ++step) {
      steps.update();
      pruner.step();
    }
    CHECK((steps.dense().kept() != nullptr) == sparse);
    weights[sparse] = steps.dense().value.value().to_host();
  }
  CHECK(test::difference(weights[1], weights[0], 1e-4, 1e-5) == "");
}

TEST_CASE("sparse training: measured thresholds are found once and go with the pruner's record") {
  const double from = measured_break_even(10, 75, 6);
  CHECK(from > 0.0);
  CHECK(measured_break_even(10, 75, 6) == from);
  CHECK_THROWS_WITH_AS(measured_break_even(0, 1, 1), doctest::Contains("0 x 1"), InvalidArgument);

  Steps steps;
  const PrunerOptions options{.scope = Scope::local, .sparse_training = {.when = SparseTraining::measured, .batch = 6}};
  Pruner pruner(steps.model, options), resumed(steps.model, options);
  pruner.prune_to(0.8);
  CHECK(pruner.record().find("\"dense_1.weight\"") != std::string::npos);
  resumed.restore(R"({"step": 3, "rule": "", "sparse_from": {"dense_1.weight": 0.8}})");
  CHECK(steps.dense().kept() != nullptr);
  resumed.restore(R"({"step": 3, "rule": "", "sparse_from": {"dense_1.weight": 0.9}})");
  const auto record_by = [](const char* by) {
    return fmt::format(
        R"({{"step": 3, "rule": "", "sparse_from": {{"dense_1.weight": 0.8}}, "sampled_by_vendor": {}}})", by);
  };
  resumed.restore(record_by(R"(["dense_1.weight"])"));
  REQUIRE(steps.dense().kept() != nullptr);
  CHECK(steps.dense().kept()->sampled_by == SampledBy::vendor);
  CHECK(resumed.record().find("sampled_by_vendor") != std::string::npos);
  for (const char* wrong : {R"("dense_1.weight")", R"(["dense_9.weight"])", "[1]", "3"}) {
    CAPTURE(wrong);
    CHECK_THROWS_AS(resumed.check(record_by(wrong)), InvalidArgument);
  }
  for (const char* wrong : {R"({"dense_1.weight": "x"})", "0.9", "[0.9]", "null"}) {
    CAPTURE(wrong);
    CHECK_THROWS_AS(resumed.check(fmt::format(R"({{"step": 3, "rule": "", "sparse_from": {}}})", wrong)),
                    InvalidArgument);
  }
}

TEST_CASE("sparse training: a threshold outside of [0, 1] is refused") {
  Sequential model = test::small_model();
  CHECK_THROWS_WITH_AS(SparseExecution(model, {}, {.when = SparseTraining::on, .threshold = 1.5}),
                       doctest::Contains("from a sparsity of 1.5"), InvalidArgument);
}

}  // namespace
}  // namespace espalier::pruning
