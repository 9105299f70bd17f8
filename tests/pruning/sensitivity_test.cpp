// Sensitivity curves and intervals against figures worked out by hand and against a plain search in double; the search
// for rates on a small task that is learnt in an instant.
#include "pruning/sensitivity.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "core/data/synthetic.h"
#include "kernels/require.h"
#include "layers/evaluate.h"
#include "layers/layers.h"
#include "pruning/pruned_for_now.h"
#include "pruning/rate_search.h"

namespace espalier::pruning {
namespace {

TEST_CASE("wilson: the ends solve |p - seen| = z sqrt(p (1 - p) / n), and stay inside [0, 1]") {
  for (const auto& [right, of] : {std::pair{0, 10}, {10, 10}, {1, 1}, {9800, 10'000}, {3, 7}, {4999, 5000}}) {
    const Interval interval = wilson(right, of);
    const double seen = double(right) / of;
    for (const double end : {interval.low, interval.high}) {
      CHECK(end >= 0);
      CHECK(end <= 1);
      const bool at_edge = (right == 0 && end < 1e-9) || (right == of && end > 1 - 1e-9);
      if (!at_edge) CHECK(std::abs(end - seen) == doctest::Approx(1.959964 * std::sqrt(end * (1 - end) / of)));
    }
    CHECK(interval.low <= seen);
    CHECK(interval.high >= seen);
  }
  CHECK(wilson(0, 0).low == 0);
  CHECK(wilson(0, 0).high == 1);
  CHECK_THROWS_AS(wilson(3, 2), InvalidArgument);
}

Sequential small_net() {
  return Sequential(Flatten(), Dense(144, 12, {.seed = 1}), Relu(), Dense(12, 10, {.seed = 2}));
}

const data::ImageData& digits() {
  static const data::ImageData data =
      data::synthetic({.train = 64, .test = 33, .height = 12, .width = 12}, {.validation = 31});
  return data;
}

Metrics on_validation(Module& model) { return evaluate(model, digits().validation); }

TEST_CASE("sensitivity: each point is the model with one layer pruned alone; the model stays as it was") {
  Sequential model = small_net();
  const auto before = model.parameters()[0]->value.value().to_host();
  const SensitivityOptions options{.grid = {0.25, 0.5, 0.9}};
  const Sensitivity found = sensitivity(model, on_validation, options);
  CHECK(model.parameters()[0]->value.value().to_host() == before);
  CHECK(model.parameters()[0]->mask() == nullptr);
  REQUIRE(found.layers.size() == 2);
  CHECK(found.layers[1].parameter == "dense_2.weight");
  CHECK(found.unpruned.samples == 31);
  CHECK(found.unpruned.loss == on_validation(model).loss);
  for (std::size_t layer = 0; layer < 2; ++layer) {
    REQUIRE(found.layers[layer].points.size() == 3);
    for (const SensitivityPoint& point : found.layers[layer].points) {
      Sequential copy = small_net();  // the same seeds: the same weights
      Parameter& weight = *copy.parameters()[2 * layer];
      auto values = weight.value.value().to_host();
      std::vector<float> sizes;
      for (const float value : values) sizes.push_back(std::abs(value));
      std::sort(sizes.begin(), sizes.end());
      const auto gone = std::size_t(std::llround(point.sparsity * double(values.size())));
      for (float& value : values) value = gone > 0 && std::abs(value) <= sizes[gone - 1] ? 0.0f : value;
      weight.value.value().copy_from(Tensor::from(weight.value.shape(), std::span<const float>(values)));
      const Metrics metrics = on_validation(copy);
      CHECK(point.right == metrics.correct());
      CHECK(point.loss == doctest::Approx(metrics.loss));
      CHECK(point.kept == std::int64_t(values.size() - gone));
    }
  }
}

TEST_CASE("sensitivity: of channels, each point is the model with one group narrower") {
  Sequential model = small_net();
  const auto before = model.parameters()[0]->value.value().to_host();
  const Sensitivity found = channel_sensitivity(model, {1, 1, 12, 12}, on_validation, {.grid = {0.25, 0.99}});
  CHECK(model.parameters()[0]->value.value().to_host() == before);
  REQUIRE(found.layers.size() == 1);  // the output's channels cannot fall
  CHECK(found.layers[0].parameter == "dense_1");
  CHECK(found.layers[0].weights == 12);
  CHECK(found.layers[0].points[0].kept == 9);
  CHECK(found.layers[0].points[1].kept == 1);

  std::vector<std::pair<double, std::size_t>> norms;  // of what a channel takes along
  const auto makes = model.parameters()[0]->value.value().to_host(),
             reads = model.parameters()[2]->value.value().to_host();
  for (std::size_t i = 0; i < 12; ++i) {
    double sum = 0;
    for (std::size_t j = 0; j < 144; ++j) sum += double(makes[144 * i + j]) * makes[144 * i + j];
    for (std::size_t j = 0; j < 10; ++j) sum += double(reads[12 * j + i]) * reads[12 * j + i];
    norms.emplace_back(sum, i);
  }
  std::sort(norms.begin(), norms.end());
  auto narrower = makes;
  for (std::size_t i = 0; i < 3; ++i) std::fill_n(narrower.begin() + std::ptrdiff_t(144 * norms[i].second), 144, 0.0f);
  model.parameters()[0]->value.value().copy_from(Tensor::from({12, 144}, std::span<const float>(narrower)));
  CHECK(found.layers[0].points[0].loss == on_validation(model).loss);
  CHECK_THROWS_AS(channel_sensitivity(model, {1, 1, 12, 12}, on_validation, {.ignore = {"dense_7"}}), InvalidArgument);
}

TEST_CASE("sensitivity: harm never falls, is 0 at 0 and meets the curve at its points") {
  Sensitivity made;
  made.unpruned = {0, 100, 1.0, 90, 100};
  made.layers = {{"a", 100, {{0.5, 50, 0.9, 90, 100}, {0.75, 25, 1.4, 85, 100}, {0.9, 10, 1.3, 80, 100}}}};
  const std::vector<double> harm = made.harm(0);
  REQUIRE(harm.size() == kHarmSteps + 1);
  CHECK(harm[0] == 0);
  CHECK(harm[100] == 0);  // the loss fell: no harm, no reward
  CHECK(harm[150] == doctest::Approx(0.4));
  CHECK(harm[180] == doctest::Approx(0.4));
  CHECK(harm[125] == doctest::Approx(0.2));
  CHECK(std::is_sorted(harm.begin(), harm.end()));
}

TEST_CASE("sensitivity: told in a table and in JSON; what cannot be done is said") {
  Sequential model = small_net();
  const Sensitivity found = sensitivity(model, on_validation, {.grid = {0.5}, .ignore = {"dense_1.weight"}});
  REQUIRE(found.layers.size() == 1);
  const nlohmann::json json = nlohmann::json::parse(found.to_json());
  CHECK(json.at("layers").at(0).at("points").at(0).at("accuracy_low") <=
        json.at("layers").at(0).at("points").at(0).at("accuracy"));
  CHECK(to_string(found).find("dense_2.weight") != std::string::npos);
  const auto refused = [&](const SensitivityOptions& options) {
    CHECK_THROWS_AS(sensitivity(model, on_validation, options), InvalidArgument);
  };
  refused({.grid = {}});
  refused({.grid = {0.5, 0.4}});
  refused({.grid = {1.0}});
  refused({.ignore = {"dense_7.weight"}});
  refused({.ignore = {"dense_1.weight", "dense_2.weight"}});
  CHECK_THROWS_AS(sensitivity(model, [](Module&) { return Metrics{}; }), InvalidArgument);
}

// The least harm by trying all pairs of steps.
double least_by_trying(const CostTable& table, double budget) {
  double best = HUGE_VAL;
  const int last = int(table.grid.back() * kHarmSteps);
  for (int i = 0; i <= last; ++i) {
    for (int j = 0; j <= last; ++j) {
      const double rates[] = {double(i) / kHarmSteps, double(j) / kHarmSteps};
      if (table.network_cost(rates) > budget) continue;
      best = std::min(best, table.layers[0].harm[std::size_t(i)] + table.layers[1].harm[std::size_t(j)]);
    }
  }
  return best;
}

TEST_CASE("rate search: convex harms are met as well as by trying everything, to one step") {
  for (const double steepness : {1.0, 3.0, 10.0}) {
    CostTable table{.grid = {0.0, 0.95}, .layers = {{"a", 1000, {1000, 50}}, {"b", 400, {400, 20}}}, .other = 7};
    for (int i = 0; i <= kHarmSteps; ++i) {
      const double rate = double(i) / kHarmSteps;
      table.layers[0].harm.push_back(rate * rate), table.layers[1].harm.push_back(steepness * std::pow(rate, 3));
    }
    for (const double budget : {1407.0, 1000.0, 500.0, 200.0, 77.0}) {
      const auto rates = *least_harm(table, budget);
      CHECK(table.network_cost(rates) <= budget);
      double harm = 0;
      for (std::size_t i = 0; i < 2; ++i) {
        harm += table.layers[i].harm[std::size_t(std::llround(rates[i] * kHarmSteps))];
      }
      CHECK(harm <= least_by_trying(table, budget) + 0.02 * steepness);
    }
    CHECK(!least_harm(table, 76.9));
    CHECK(sparsity_of(table, std::vector{0.5, 0.0}) == doctest::Approx(500.0 / 1400));
  }
}

}  // namespace
}  // namespace espalier::pruning
