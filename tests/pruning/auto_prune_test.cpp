// The search for rates on tasks whose answer is known: which layer can go, where the bound lies.
#include "pruning/auto_prune.h"

#include <doctest/doctest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "kernels/require.h"
#include "layers/layers.h"
#include "pruning/channel_pruning.h"
#include "pruning/pruner.h"
#include "pruning/shrink.h"

namespace espalier::pruning {
namespace {

const Shape kInput{4, 20};

Sequential small_net() { return Sequential(Dense(20, 30, {.seed = 1}), Relu(), Dense(30, 4, {.seed = 2})); }

double norm(const Tensor& weight) {
  double sum = 0;
  for (const float value : weight.to_host()) sum += double(value) * value;
  return std::sqrt(sum);
}

// A judge that sees the norm of the first weight alone: the second may go for nothing.
Metrics first_layer_counts(Module& model) {
  Sequential fresh = small_net();
  const double part = norm(model.parameters()[0]->value.value()) / norm(fresh.parameters()[0]->value.value());
  Metrics metrics{.loss = 1 - part, .classes = 2, .confusion = {0, 0, 0, 0}};
  const auto right = std::int64_t(1000 * part + 0.5);
  metrics.confusion[0] = right, metrics.confusion[1] = 1000 - right;
  return metrics;
}

AutoOptions options_for(Cost cost) {
  AutoOptions options{.cost = cost, .max_drop = 0.1, .trials = 6};
  options.latency.compile.candidates = {dense(Math::handwritten), csr()};
  options.latency.compile.gpu = &gpu_model("t4");
  return options;
}

const Tune kNothing = [](Module&) {};

TEST_CASE("auto: the layer that does no harm goes first, the bound is kept, the model stays as it was") {
  for (const Cost cost : {Cost::params, Cost::macs, Cost::bytes}) {
    CAPTURE(to_string(cost));
    Sequential model = small_net();
    const auto before = model.parameters()[0]->value.value().to_host();
    const AutoPlan plan = auto_prune(model, kInput, first_layer_counts, kNothing, options_for(cost));
    CHECK(model.parameters()[0]->value.value().to_host() == before);
    CHECK(model.parameters()[0]->mask() == nullptr);
    REQUIRE(plan.tried.size() == 6);
    const AutoCandidate& best = plan.chosen();
    CHECK(best.within);
    CHECK(best.accuracy() >= 0.9 - 1e-9);
    CHECK(best.accuracy() < 0.95);  // the bisection came near
    CHECK(best.rates[1] > 0.9);
    CHECK(best.rates[0] < best.rates[1]);
    CHECK(plan.cost_of(best) <= best.asked * plan.cost_of(plan.dense) + 20);  // whole weights and bytes
    CHECK(best.pareto);
    CHECK(plan.dense.params == 20 * 30 + 30 + 30 * 4 + 4);
    CHECK(plan.dense.macs == 20 * 30 + 30 * 4);
  }
}

TEST_CASE("auto: the same call finds the same, and says so in a table and in JSON") {
  Sequential model = small_net();
  const AutoPlan first = auto_prune(model, kInput, first_layer_counts, kNothing, options_for(Cost::params));
  const AutoPlan again = auto_prune(model, kInput, first_layer_counts, kNothing, options_for(Cost::params));
  CHECK(first.to_json() == again.to_json());
  const nlohmann::json json = nlohmann::json::parse(first.to_json());
  CHECK(json.at("candidates").size() == 6);
  CHECK(json.at("timing") == "T4, modelled");
  CHECK(to_string(first).find("chosen") != std::string::npos);
  CHECK(to_string(first).find("drops too far") != std::string::npos);
}

TEST_CASE("auto: what tuning wins back counts, and is taken back with the rest") {
  Sequential model = small_net();
  const Tune heal = [](Module& tuned) {  // makes up for what has fallen
    const Tensor& weight = tuned.parameters()[0]->value.value();
    auto values = weight.to_host();
    Sequential fresh = small_net();
    const double factor = norm(fresh.parameters()[0]->value.value()) / norm(weight);
    for (float& value : values) value = float(value * factor);
    weight.copy_from(Tensor::from(weight.shape(), std::span<const float>(values)));
  };
  const auto before = model.parameters()[0]->value.value().to_host();
  const AutoPlan plan = auto_prune(model, kInput, first_layer_counts, heal, options_for(Cost::params));
  CHECK(model.parameters()[0]->value.value().to_host() == before);
  CHECK(plan.cost_of(plan.chosen()) < 0.1 * plan.cost_of(plan.dense));
}

TEST_CASE("auto: a target is met at once, or refused where it breaks the bound or cannot be met") {
  Sequential model = small_net();
  AutoOptions options = options_for(Cost::params);
  options.target = 0.85;
  const AutoPlan plan = auto_prune(model, kInput, first_layer_counts, kNothing, options);
  CHECK(plan.tried.size() == 1);
  CHECK(plan.chosen().params <= 0.86 * 754);
  CHECK(plan.chosen().params > 0.82 * 754);
  const auto refused = [&](auto change, const char* word) {
    AutoOptions wrong = options;
    change(wrong);
    try {
      auto_prune(model, kInput, first_layer_counts, kNothing, wrong);
      FAIL("not refused: ", word);
    } catch (const InvalidArgument& error) {
      CHECK(std::string(error.what()).find(word) != std::string::npos);
    }
  };
  refused([](AutoOptions& o) { o.target = 0.2; }, "the nearest has");
  refused([](AutoOptions& o) { o.target = 0.001; }, "cannot be met");
  refused([](AutoOptions& o) { o.target = 1.5; }, "fraction");
  refused([](AutoOptions& o) { o.max_drop = -0.1; }, "drop");
  refused([](AutoOptions& o) { o.trials = 0; }, "trials");
  refused([](AutoOptions& o) { o.least = 0; }, "begin with");
  for (const double density : {0.0, 0.995, 1.0, double(NAN)}) {
    refused([&](AutoOptions& o) { o.min_density = density; }, "leave something to prune");
  }
}

TEST_CASE("auto: modelled time is a cost as well") {
  Sequential model(Dense(512, 768, {.seed = 1}), Relu(), Dense(768, 4, {.seed = 2}));
  AutoOptions options = options_for(Cost::latency);
  options.max_drop = 0.5, options.trials = 3, options.sensitivity.grid = {0.5, 0.9};
  options.latency.grid = {0.0, 0.9};
  const Judge flat = [](Module&) { return Metrics{.loss = 1, .classes = 2, .confusion = {9, 1, 0, 0}}; };
  const AutoPlan plan = auto_prune(model, {512, 512}, flat, kNothing, options);
  CHECK(plan.chosen().latency_us < plan.dense.latency_us);
}

TEST_CASE("auto: a target of time is met as the whole network's, or refused") {
  Sequential model(Dense(512, 768, {.seed = 1}), Relu(), Dense(768, 4, {.seed = 2}));
  AutoOptions options = options_for(Cost::latency);
  options.max_drop = 0.5, options.target = 0.7, options.sensitivity.grid = {0.5, 0.9};
  options.latency.grid = {0.0, 0.9};
  const Judge flat = [](Module&) { return Metrics{.loss = 1, .classes = 2, .confusion = {9, 1, 0, 0}}; };
  const AutoPlan plan = auto_prune(model, {512, 512}, flat, kNothing, options);
  CHECK(plan.chosen().latency_us <= 0.707 * plan.dense.latency_us);
  options.target = 1e-4;
  CHECK_THROWS_AS(auto_prune(model, {512, 512}, flat, kNothing, options), InvalidArgument);
}

// Two hidden layers; a judge that minds what the first loses and nothing else.
Sequential wide_net() {
  return Sequential(Dense(20, 48, {.seed = 1}), Relu(), Dense(48, 32, {.seed = 2}), Relu(), Dense(32, 4, {.seed = 3}));
}

Metrics first_width_counts(Module& model) {
  Sequential fresh = wide_net();
  const double part = norm(model.parameters()[0]->value.value()) / norm(fresh.parameters()[0]->value.value());
  const auto right = std::int64_t(1000 * part + 0.5);
  return {.loss = 1 - part, .classes = 2, .confusion = {right, 1000 - right, 0, 0}};
}

TEST_CASE("auto: channels of the layer that does no harm go first, and shrinking has what was said") {
  for (const Cost cost : {Cost::params, Cost::macs, Cost::bytes}) {
    CAPTURE(to_string(cost));
    Sequential model = wide_net();
    const auto before = model.parameters()[0]->value.value().to_host();
    AutoOptions options = options_for(cost);
    options.granule = 4, options.min_density = 0.1;
    options.latency.compile.candidates = {dense(Math::handwritten)};
    const AutoPlan plan = auto_widths(model, kInput, first_width_counts, kNothing, options);
    CHECK(model.parameters()[0]->value.value().to_host() == before);
    CHECK(model.parameters()[0]->mask() == nullptr);
    const AutoCandidate& best = plan.chosen();
    CHECK(best.within);
    CHECK(best.pareto);
    CHECK(plan.parameters == std::vector<std::string>{"dense_1", "dense_2"});
    REQUIRE(best.widths.contains("dense_2"));
    CHECK(best.widths.at("dense_2") == 4);
    if (best.widths.contains("dense_1")) CHECK(best.widths.at("dense_1") > 32);

    Pruner(model, {.pattern = channel_pattern(model, kInput, {.widths = best.widths}), .min_density = 0})
        .prune_to(best.sparsity);
    const Shrunk small = shrink(model, kInput);
    CHECK(small.parameters_after == best.params);
    CHECK(small.macs_after == best.macs);
    CHECK(best.bytes == 4 * best.params);
    CHECK(plan.cost_of(best) < 0.7 * plan.cost_of(plan.dense));
    CHECK(nlohmann::json::parse(plan.to_json()).at("candidates").at(plan.best).at("widths").at("dense_2") == 4);
  }
}

TEST_CASE("auto: widths meet a target at once, leave ignored layers alone, and say what cannot be") {
  Sequential model = wide_net();
  AutoOptions options = options_for(Cost::params);
  options.granule = 4, options.target = 0.5, options.max_drop = 0.9, options.sensitivity.ignore = {"dense_2"};
  const AutoPlan plan = auto_widths(model, kInput, first_width_counts, kNothing, options);
  CHECK(plan.tried.size() == 1);
  CHECK(plan.chosen().params <= 0.5 * double(plan.dense.params));
  CHECK(!plan.chosen().widths.contains("dense_2"));
  const auto refused = [&](auto change, const char* word) {
    AutoOptions wrong = options;
    change(wrong);
    try {
      auto_widths(model, kInput, first_width_counts, kNothing, wrong);
      FAIL("not refused: ", word);
    } catch (const InvalidArgument& error) {
      CHECK(std::string(error.what()).find(word) != std::string::npos);
    }
  };
  refused([](AutoOptions& o) { o.target = 0.001; }, "cannot be met");
  refused([](AutoOptions& o) { o.max_drop = 0; }, "the nearest has");
  refused([](AutoOptions& o) { o.granule = 0; }, "granule");
  refused([](AutoOptions& o) { o.granule = 64; }, "granule");
  refused([](AutoOptions& o) { o.sensitivity.ignore = {"dense_9"}; }, "dense_9");
}

}  // namespace
}  // namespace espalier::pruning
