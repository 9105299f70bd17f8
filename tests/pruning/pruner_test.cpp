#include "pruning/pruner.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "layers/activation.h"
#include "layers/conv2d.h"
#include "layers/dense.h"
#include "layers/flatten.h"
#include "layers/sequential.h"
#include "tests/support/close.h"

namespace espalier::pruning {
namespace {

Sequential small_model() {
  return Sequential(Conv2d(1, 4, {.seed = 1}), Relu(), Flatten(), Dense(4 * 4 * 4, 10, {.seed = 2}), Relu(),
                    Dense(10, 3, {.seed = 3}));
}

std::int64_t nonzeros(const Parameter& parameter) {
  const auto values = parameter.value.value().to_host();
  return std::count_if(values.begin(), values.end(), [](float value) { return value != 0.0f; });
}

bool masked_are_bit_zero(const Parameter& parameter) {
  const auto values = parameter.value.value().to_host();
  const auto keep = parameter.mask()->keep.to_host_as<std::uint8_t>();
  for (std::size_t i = 0; i < values.size(); ++i) {
    std::uint32_t bits = 0;
    std::memcpy(&bits, &values[i], sizeof(bits));
    if (!keep[i] && bits != 0) return false;
  }
  return true;
}

Tensor scores_tensor(Shape shape, const std::vector<float>& scores) {
  return Tensor::from(std::move(shape), std::span<const float>(scores));
}

TEST_CASE("unstructured: exactly the budget lives, the highest scores first, over all tensors") {
  const std::vector<Tensor> scores{scores_tensor({1, 4}, {5, 1, 2, 9}), scores_tensor({2, 3}, {4, 8, 3, 0, 7, 6})};
  const auto masks = unstructured()(scores, {.sparsity = 0.6});
  CHECK(masks[0].keep.to_host_as<std::uint8_t>() == std::vector<std::uint8_t>{0, 0, 0, 1});
  CHECK(masks[1].keep.to_host_as<std::uint8_t>() == std::vector<std::uint8_t>{0, 1, 0, 0, 1, 1});
}

TEST_CASE("unstructured: a layer that would fall below its floor is given it, the rest share what is left") {
  const std::vector<Tensor> scores{scores_tensor({1, 4}, {0.1f, 0.2f, 0.3f, 0.4f}),
                                   scores_tensor({1, 8}, {8, 7, 6, 5, 4, 3, 2, 1})};
  const auto masks = unstructured()(scores, {.sparsity = 0.5, .min_density = 0.5});
  CHECK(masks[0].keep.to_host_as<std::uint8_t>() == std::vector<std::uint8_t>{0, 0, 1, 1});
  CHECK(masks[0].kept() + masks[1].kept() == 6);
  const auto extreme = unstructured()(scores, {.sparsity = 0.999});
  CHECK(extreme[0].kept() == 1);  // no layer is ever cut off entirely
  CHECK(extreme[1].kept() == 1);
}

TEST_CASE("unstructured: kept counts are exact for every sparsity") {
  const std::vector<Tensor> scores{scores_tensor({37, 11}, test::random_floats(407, 1, 0, 1)),
                                   scores_tensor({5, 5}, test::random_floats(25, 2, 0, 1))};
  for (const double sparsity : {0.0, 0.1, 0.5, 0.77, 0.9, 0.98}) {
    const auto masks = unstructured()(scores, {.sparsity = sparsity});
    CHECK(masks[0].kept() + masks[1].kept() == 432 - std::llround(sparsity * 432));
  }
  CHECK_THROWS_AS(unstructured()(scores, {.sparsity = 1.0}), InvalidArgument);
  CHECK_THROWS_AS(unstructured()(scores, {.sparsity = -0.1}), InvalidArgument);
}

TEST_CASE("n of m: each run keeps its highest, ties included; ragged ends only where they are allowed") {
  const std::vector<Tensor> scores{scores_tensor({2, 6}, {1, 2, 3, 4, 9, 8, 5, 5, 5, 5, 0, 1})};
  CHECK_THROWS_WITH_AS(n_of_m(2, 4)(scores, {}), doctest::Contains("does not divide"), InvalidArgument);
  const auto masks = n_of_m(2, 4, RaggedRows::shorter_run)(scores, {});
  CHECK(masks[0].keep.to_host_as<std::uint8_t>() == std::vector<std::uint8_t>{0, 0, 1, 1, 1, 1, 1, 1, 0, 0, 1, 1});
  CHECK_THROWS_AS(n_of_m(5, 4), InvalidArgument);
}

TEST_CASE("n of m along channels: each tap of a filter keeps its own") {
  // Two filters of five channels, three taps each.
  std::vector<float> score(2 * 5 * 3);
  for (std::size_t i = 0; i < score.size(); ++i) score[i] = float(i * 7 % 11);
  const std::vector<Tensor> scores{scores_tensor({2, 5, 1, 3}, score)};
  CHECK_THROWS_WITH_AS(n_of_m_channels(1, 4)(scores, {}), doctest::Contains("4 does not divide"), InvalidArgument);
  const auto keep = n_of_m_channels(1, 4, RaggedRows::shorter_run)(scores, {})[0].keep.to_host_as<std::uint8_t>();
  for (std::size_t filter = 0; filter < 2; ++filter) {
    for (std::size_t tap = 0; tap < 3; ++tap) {
      const auto at = [&](std::size_t channel) { return (filter * 5 + channel) * 3 + tap; };
      std::size_t best = 0;
      for (std::size_t channel = 1; channel < 4; ++channel)
        best = score[at(channel)] > score[at(best)] ? channel : best;
      for (std::size_t channel = 0; channel < 4; ++channel) CHECK(bool(keep[at(channel)]) == (channel == best));
      CHECK(keep[at(4)] == 1);
    }
  }
  CHECK_THROWS_AS(n_of_m_channels(5, 4), InvalidArgument);
}

TEST_CASE("n of m along channels is n of m of a dense layer's rows") {
  const std::vector<Tensor> scores{scores_tensor({3, 8}, test::random_floats(24, 1, 0, 1))};
  CHECK(n_of_m_channels(2, 4)(scores, {})[0].keep.to_host_as<std::uint8_t>() ==
        n_of_m(2, 4)(scores, {})[0].keep.to_host_as<std::uint8_t>());
}

TEST_CASE("pruner: global and local scope reach the sparsity, and masked weights are bit-zero") {
  for (const Scope scope : {Scope::global, Scope::local}) {
    Sequential model = small_model();
    Pruner pruner(model, {.scope = scope});
    pruner.prune_to(0.8);
    const Report report = pruner.report();
    CHECK(report.total() == 36 + 640 + 30);
    CHECK(std::abs(report.kept() - 0.2 * double(report.total())) <= 1.5);
    for (const Parameter* parameter : pruner.parameters()) {
      CHECK(nonzeros(*parameter) == parameter->mask()->kept());
      CHECK(masked_are_bit_zero(*parameter));
    }
  }
}

TEST_CASE("pruner: what was pruned stays pruned, whatever its score says later") {
  Sequential model = small_model();
  Pruner pruner(model, {.criterion = random(5), .scope = Scope::local});
  pruner.prune_to(0.5);
  Parameter& weight = *pruner.parameters()[1];
  const auto before = weight.mask()->keep.to_host_as<std::uint8_t>();
  Pruner other(model, {.criterion = random(6), .scope = Scope::local});
  other.prune_to(0.75);
  const auto after = weight.mask()->keep.to_host_as<std::uint8_t>();
  for (std::size_t i = 0; i < before.size(); ++i) CHECK(after[i] <= before[i]);
  CHECK(std::count(after.begin(), after.end(), 1) == 160);
}

TEST_CASE("pruner: a lower sparsity later revives nothing") {
  Sequential model = small_model();
  Pruner pruner(model, {});
  pruner.prune_to(0.9);
  const auto before = pruner.parameters()[1]->mask()->keep.to_host_as<std::uint8_t>();
  pruner.prune_to(0.2);
  CHECK(pruner.parameters()[1]->mask()->keep.to_host_as<std::uint8_t>() == before);
}

TEST_CASE("pruner: follows its schedule and goes on where it was stopped") {
  const Cubic ramp{.from = 0.0, .to = 0.9, .begin = 2, .end = 10, .every = 4};
  Sequential whole = small_model(), parts = small_model();
  Pruner unbroken(whole, {.schedule = cubic(ramp)});
  for (int i = 0; i < 12; ++i) CHECK(unbroken.step() == (i == 2 || i == 6 || i == 10));
  Pruner first(parts, {.schedule = cubic(ramp)});
  for (int i = 0; i < 5; ++i) first.step();
  Pruner second(parts, {.schedule = cubic(ramp)});
  second.set_steps(first.steps());
  for (int i = 5; i < 12; ++i) second.step();
  for (std::size_t i = 0; i < unbroken.parameters().size(); ++i) {
    CHECK(unbroken.parameters()[i]->value.value().to_host() == second.parameters()[i]->value.value().to_host());
  }
  CHECK(unbroken.report().sparsity() == doctest::Approx(0.9).epsilon(0.002));
}

TEST_CASE("schedules: values, last step and impossible sparsities") {
  const Schedule ramp = cubic({.from = 0.2, .to = 0.8, .begin = 10, .end = 110, .every = 30});
  CHECK(!ramp(9));
  CHECK(*ramp(10) == doctest::Approx(0.2));
  CHECK(*ramp(40) == doctest::Approx(0.8 - 0.6 * 0.343));
  CHECK(!ramp(41));
  CHECK(*ramp(110) == doctest::Approx(0.8));
  CHECK(!ramp(111));
  CHECK(*one_shot(0.5, 3)(3) == 0.5);
  CHECK(!one_shot(0.5, 3)(4));
  CHECK_THROWS_AS(one_shot(1.0), InvalidArgument);
  CHECK_THROWS_AS(cubic({.from = 0.9, .to = 0.5}), InvalidArgument);
  CHECK_THROWS_AS(cubic({.begin = 5, .end = 5}), InvalidArgument);
}

TEST_CASE("pruner: ignores what it is told to, and says so when the name is unknown") {
  Sequential model = small_model();
  Pruner pruner(model, {.ignore = {"dense_2.weight"}});
  pruner.prune_to(0.9);
  for (const Parameter* parameter : model.parameters()) {
    CHECK((parameter->mask() != nullptr) ==
          (parameter->name == "conv2d_1.weight" || parameter->name == "dense_1.weight"));
  }
  CHECK_THROWS_AS(Pruner(model, {.ignore = {"dense_9.weight"}}), InvalidArgument);
  Sequential nothing{Relu()};
  CHECK_THROWS_AS(Pruner(nothing, {}), InvalidArgument);
}

TEST_CASE("report: counts weights, multiply-adds and bytes") {
  Sequential model = small_model();
  Pruner(model, {.scope = Scope::local}).prune_to(0.5);
  const Report counted = report(model, Shape{1, 1, 6, 6});
  CHECK(counted.parameters == 36 + 4 + 640 + 10 + 30 + 3);
  CHECK(counted.layers[0].macs == 36 * 16);
  CHECK(counted.layers[0].kept_macs == 18 * 16);
  CHECK(counted.layers[1].macs == 640);
  CHECK(counted.sparse_bytes() == 4 * counted.kept_parameters + 5 + 80 + 4);
  CHECK(fmt::format("{}", counted).find("conv2d_1.weight") != std::string::npos);
  CHECK(fmt::format("{}", counted).find("MACs") != std::string::npos);
  CHECK(fmt::format("{}", report(model)).find("MACs") == std::string::npos);  // unknown without an input
  CHECK(counted.to_json().find("\"parameters_kept\": 370") != std::string::npos);
}

}  // namespace
}  // namespace espalier::pruning
