// Pruning for a time instead of a sparsity: which share of its weights each layer has to lose so that the compiled
// network takes no longer than asked, with as little harm as possible.
//   LatencyPlan found = prune_for_latency(model, {32, 1, 28, 28}, {.speedup = 3});
//   Pruner pruner(model, {.pattern = at_rates(found.rates, found.sparsity), .schedule = cubic({.to =
//   found.sparsity})});
// 1. A table: the time of each layer's product over a grid of sparsities, each the fastest that compile() found there,
//    measured (or modelled, where a GPU is named), between the points interpolated.
// 2. A search: harm is the share of a layer's squared weights that falls. The least sum of harm whose times fit the
//    budget is found by a price per microsecond (a Lagrange multiplier, bisected): at each price every layer takes the
//    rate that is best for it alone.
// 3. A proof: the network pruned at these rates is compiled and timed as a whole. Where it is too slow, the search is
//    repeated with a budget lowered by as much.
// The model keeps its weights.
#pragma once
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "pruning/pattern.h"
#include "pruning/plan.h"
#include "pruning/rate_search.h"

namespace espalier::pruning {

struct LatencyGoal {
  std::optional<double> latency_us = std::nullopt;  // of one batch; one of the two must be given
  std::optional<double> speedup = std::nullopt;     // against the dense plan
};

struct LatencyOptions {
  CompileOptions compile = {};
  Pattern pattern = unstructured();
  std::vector<double> grid = {0.0, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99};  // ascending; the last is the most that falls
  std::vector<std::string> ignore = {};                                    // parameters that stay dense
  int attempts = 4;
};

// A weight that may be pruned, and what its product takes.
struct LayerLatency {
  std::string parameter;  // "dense_2.weight"
  std::int64_t weights = 0;
  std::vector<double> us = {};    // at each sparsity of the grid, never rising
  std::vector<double> harm = {};  // of losing i of kHarmSteps parts: share of the squared weights
};

struct LatencyTable {
  std::vector<double> grid;
  std::vector<LayerLatency> layers = {};  // in the order of the model's parameters
  double other_us = 0;                    // of all other steps
  double scale = 1;                       // of the whole network against the sum of its steps
  double dense_us = 0;                    // of the dense plan as a whole
  std::string timing = {};                // whose times
  double layer_us(std::size_t layer, double rate) const;
  double network_us(std::span<const double> rates) const;
  CostTable costs() const;  // in microseconds
};

// The time to reach. Throws InvalidArgument where not exactly one of the two is given, or where it is no time.
double goal_us(const LatencyGoal& goal, double dense_us);

LatencyTable latency_table(Module& model, const Shape& input, const LatencyOptions& options = {});

// The rates of least harm within the budget; none: even the highest rates of the table are too slow.
std::optional<std::vector<double>> least_harm(const LatencyTable& table, double budget_us);

struct LatencyPlan {
  std::vector<std::string> parameters = {};
  std::vector<double> rates = {};  // of each, in the order of the model's parameters
  double sparsity = 0;             // over all of them
  double goal_us = 0, dense_us = 0, predicted_us = 0, measured_us = 0;
  std::string timing = {};
};

// Throws InvalidArgument that says what the best is where the goal cannot be reached.
LatencyPlan prune_for_latency(Module& model, const Shape& input, const LatencyGoal& goal,
                              const LatencyOptions& options = {});

// What a Pruner of the same parameters does with such rates: at the full `sparsity` each weight has its own rate, and
// on the way there the same fraction of it. For Scope::global, which shows the pattern all weights at once.
Pattern at_rates(std::vector<double> rates, double sparsity, Pattern pattern = unstructured());

// What the plan takes as a whole.
double network_us(const Plan& plan, const CompileOptions& options);

}  // namespace espalier::pruning
