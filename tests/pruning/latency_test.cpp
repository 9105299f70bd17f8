// Rates for a time: the search against tables made by hand, the whole way in the times of a model, which no clock
// moves.
#include "pruning/latency.h"

#include <doctest/doctest.h>

#include "kernels/require.h"
#include "layers/activation.h"
#include "layers/dense.h"
#include "layers/sequential.h"
#include "pruning/pruner.h"

namespace espalier::pruning {
namespace {

// Harm that grows as the square of what is lost, times a weight.
std::vector<double> quadratic_harm(double weight) {
  std::vector<double> harm;
  for (int i = 0; i <= kHarmSteps; ++i) harm.push_back(weight * i * i / double(kHarmSteps * kHarmSteps));
  return harm;
}

// Two layers of 100 us each, whose time falls in proportion to their weights, down to 10 us; 20 us of other steps.
LatencyTable table(double first_harm, double second_harm) {
  LatencyTable made{.grid = {0.0, 0.9}};
  made.layers = {{"dense_1.weight", 1000, {100, 10}, quadratic_harm(first_harm)},
                 {"dense_2.weight", 3000, {100, 10}, quadratic_harm(second_harm)}};
  made.other_us = 20, made.dense_us = 220;
  return made;
}

TEST_CASE("latency: times between the points of the grid are interpolated, beyond it they stay") {
  LatencyTable made = table(1, 1);
  made.scale = 2;
  CHECK(made.layer_us(0, 0.0) == 100);
  CHECK(made.layer_us(0, 0.45) == doctest::Approx(55));
  CHECK(made.layer_us(0, 0.95) == 10);
  CHECK(made.network_us(std::vector{0.45, 0.9}) == doctest::Approx(2 * (20 + 55 + 10)));
}

TEST_CASE("latency: the least harm that fits the budget") {
  CHECK(*least_harm(table(1, 1), 220) == std::vector{0.0, 0.0});  // nothing to do
  const auto even = *least_harm(table(1, 1), 120);                // a saving of 100 us: half of it from each
  CHECK(even[0] == doctest::Approx(0.5).epsilon(0.03));
  CHECK(even[1] == doctest::Approx(0.5).epsilon(0.03));
  const auto uneven = *least_harm(table(1, 4), 120);  // the second suffers four times as much: a quarter of the loss
  CHECK(uneven[0] == doctest::Approx(0.8).epsilon(0.03));
  CHECK(uneven[1] == doctest::Approx(0.2).epsilon(0.08));
  for (const double budget : {60.0, 90.0, 150.0, 219.0}) {
    const LatencyTable made = table(1, 3);
    const double us = made.network_us(*least_harm(made, budget));
    CHECK(us <= budget);
    CHECK(us > budget - 1.0);  // one step of a rate is half a microsecond
  }
  CHECK(!least_harm(table(1, 1), 39.9));
  CHECK(*least_harm(table(1, 1), 40.0) == std::vector{0.9, 0.9});
}

TEST_CASE("latency: a layer that gets no faster keeps its weights") {
  LatencyTable made = table(1, 0.001);
  made.layers[1].us = {100, 100};
  const auto rates = *least_harm(made, 150);
  CHECK(rates[1] == 0.0);
  CHECK(rates[0] == doctest::Approx(0.7).epsilon(0.02));
}

Sequential model() {
  return Sequential(Dense(512, 768, {.seed = 1}), Relu(), Dense(768, 512, {.seed = 2}), Relu(), Dense(512, 10));
}

LatencyOptions modelled() {
  LatencyOptions options;
  options.compile.candidates = {dense(Math::handwritten), csr()};
  options.compile.gpu = &gpu_model("t4");
  options.grid = {0.0, 0.8, 0.95, 0.99};
  return options;
}

std::vector<std::vector<float>> weights_of(Module& network) {
  std::vector<std::vector<float>> weights;
  for (const Parameter* parameter : network.parameters()) weights.push_back(parameter->value.value().to_host());
  return weights;
}

TEST_CASE("latency: finds rates that a compiled plan keeps, and leaves the model as it was") {
  Sequential network = model();
  const auto before = weights_of(network);
  const LatencyOptions options = modelled();
  const LatencyPlan found = prune_for_latency(network, {256, 512}, {.speedup = 1.5}, options);
  CHECK(weights_of(network) == before);
  CHECK(found.timing == "T4, modelled");
  CHECK(found.goal_us == doctest::Approx(found.dense_us / 1.5));
  CHECK(found.measured_us <= found.goal_us);
  CHECK(found.predicted_us <= found.goal_us);
  CHECK(found.parameters == std::vector<std::string>{"dense_1.weight", "dense_2.weight", "dense_3.weight"});
  CHECK(found.rates[2] == 0.0);  // ten rows: nothing to gain
  CHECK(found.sparsity > 0.3);

  Pruner pruner(network, {.pattern = at_rates(found.rates, found.sparsity)});
  pruner.prune_to(0.5 * found.sparsity);
  CHECK(pruner.report().layers[0].sparsity() == doctest::Approx(0.5 * found.rates[0]).epsilon(0.01));
  pruner.prune_to(found.sparsity);
  for (std::size_t i = 0; i < 3; ++i) {
    CHECK(pruner.report().layers[i].sparsity() == doctest::Approx(found.rates[i]).epsilon(0.01));
  }
  CHECK(network_us(compile(network, {256, 512}, options.compile), options.compile) <= found.goal_us);

  const LatencyPlan absolute = prune_for_latency(network, {256, 512}, {.latency_us = found.dense_us}, options);
  CHECK(absolute.goal_us == found.dense_us);
}

TEST_CASE("latency: what cannot be reached is one error that says what can") {
  Sequential network = model();
  std::string error;
  try {
    prune_for_latency(network, {256, 512}, {.latency_us = 1.0}, modelled());
  } catch (const InvalidArgument& refused) {
    error = refused.what();
  }
  CHECK(error.starts_with("1.0 µs at batch 256 cannot be reached: best is "));
  CHECK(error.find("of the weights removed (T4, modelled)") != std::string::npos);
  CHECK_THROWS_AS(prune_for_latency(network, {256, 512}, {}, modelled()), InvalidArgument);
  CHECK_THROWS_AS(prune_for_latency(network, {256, 512}, {.latency_us = 1, .speedup = 2}, modelled()), InvalidArgument);
  CHECK_THROWS_AS(prune_for_latency(network, {256, 512}, {.speedup = 0.0}, modelled()), InvalidArgument);
}

TEST_CASE("latency: rates for other weights than the search knew are refused") {
  Sequential network = model();
  Pruner pruner(network, {.pattern = at_rates({0.5}, 0.5)});
  CHECK_THROWS_AS(pruner.prune_to(0.5), InvalidArgument);
}

TEST_CASE("latency: the table is of layers, whatever the network may become as a whole") {
  Sequential small(Dense(40, 30, {.seed = 1}), Relu(), Dense(30, 10, {.seed = 2}));
  LatencyOptions options;
  options.compile.candidates = {dense(Math::handwritten), fused_network()};
  options.compile.timer = [](const TimedWork& work, const BenchmarkOptions&) {
    return Timing{.median_us = work.format == "fused csr" ? 1.0 : 10.0};
  };
  options.grid = {0.0, 0.9};
  for (const LayerLatency& layer : latency_table(small, {4, 40}, options).layers) CHECK(layer.us[1] == 10.0);
}

}  // namespace
}  // namespace espalier::pruning
