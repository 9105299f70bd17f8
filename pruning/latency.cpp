#include "pruning/latency.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "kernels/require.h"
#include "pruning/criterion.h"
#include "pruning/pruned_for_now.h"
#include "pruning/reason.h"
#include "pruning/weights.h"

namespace espalier::pruning {
namespace {

std::vector<double> harm_of(const Tensor& weight) {
  std::vector<double> squares;
  for (const float value : weight.to_host()) squares.push_back(double(value) * value);
  std::sort(squares.begin(), squares.end());
  std::partial_sum(squares.begin(), squares.end(), squares.begin());
  const double all = std::max(squares.back(), 1e-300);
  std::vector<double> harm{0.0};
  for (int i = 1; i <= kHarmSteps; ++i) {
    const auto removed = std::size_t(std::llround(double(i) / kHarmSteps * double(squares.size())));
    harm.push_back(removed == 0 ? 0.0 : squares[removed - 1] / all);
  }
  return harm;
}

// Of each layer's product, whatever the whole plan preferred; layers used twice add up.
std::map<std::string, double> product_times(const Plan& plan) {
  std::map<std::string, double> us;
  for (const PlanStep& step : plan.steps()) {
    if (step.size.rows == 0) continue;
    const auto best = fastest(step.candidates);
    us[step.layer + ".weight"] += best ? *step.candidates[*best].us : step.us;
  }
  return us;
}

LatencyPlan plan_of(const LatencyTable& table, std::vector<double> rates, double measured_us) {
  LatencyPlan plan{.sparsity = sparsity_of(table.costs(), rates),
                   .dense_us = table.dense_us,
                   .predicted_us = table.network_us(rates),
                   .measured_us = measured_us,
                   .timing = table.timing};
  for (const LayerLatency& layer : table.layers) plan.parameters.push_back(layer.parameter);
  plan.rates = std::move(rates);
  return plan;
}

[[noreturn]] void refuse(const LatencyPlan& best, std::int64_t batch) {
  throw InvalidArgument(fmt::format(
      "{:.1f} µs at batch {} cannot be reached: best is {:.1f} µs, {:.2f}x of dense ({:.1f} µs), with {:.1f} % of the "
      "weights removed ({})",
      best.goal_us, batch, best.measured_us, best.dense_us / best.measured_us, best.dense_us, 100 * best.sparsity,
      best.timing));
}

}  // namespace

double goal_us(const LatencyGoal& goal, double dense_us) {
  require(goal.latency_us.has_value() != goal.speedup.has_value(),
          "pruning for latency: give either a latency or a speed-up");
  const double wanted = goal.latency_us ? *goal.latency_us : dense_us / *goal.speedup;
  require(std::isfinite(wanted) && wanted > 0, "pruning for latency: ", wanted, " us is no time to aim at");
  return wanted;
}

double LatencyTable::layer_us(std::size_t layer, double rate) const {
  return interpolated(grid, layers[layer].us, rate);
}

double LatencyTable::network_us(std::span<const double> rates) const { return costs().network_cost(rates); }

CostTable LatencyTable::costs() const {
  CostTable table{.grid = grid, .other = other_us, .scale = scale};
  for (const LayerLatency& layer : layers)
    table.layers.push_back({layer.parameter, layer.weights, layer.us, layer.harm});
  return table;
}

double network_us(const Plan& plan, const CompileOptions& options) {
  if (options.gpu) return plan.steps_us();
  return time_in_turns({{"network", "plan", "", [&] { plan(plan.input()); }}}, options)[0].median_us;
}

LatencyTable latency_table(Module& model, const Shape& input, const LatencyOptions& options) {
  require(!options.grid.empty() && options.grid.front() == 0 && options.grid.back() < 1 &&
              std::is_sorted(options.grid.begin(), options.grid.end()),
          "pruning for latency: the grid of sparsities must ascend from 0 to less than 1");
  LatencyTable table{.grid = options.grid};
  const std::vector<Parameter*> parameters = weights_of(model, options.ignore);
  for (const Parameter* parameter : parameters) {
    table.layers.push_back({.parameter = parameter->name, .weights = parameter->size()});
    table.layers.back().harm = harm_of(parameter->value.value());
  }
  CompileOptions dense_options = options.compile;
  dense_options.candidates = {dense()};
  const Plan dense_plan = compile(model, input, dense_options);
  table.dense_us = network_us(dense_plan, options.compile);
  table.timing = dense_plan.timing();
  table.scale = table.dense_us / dense_plan.steps_us();
  table.other_us = dense_plan.steps_us();
  CompileOptions of_layers = options.compile;
  std::erase_if(of_layers.candidates, [](const Candidate& candidate) {
    return std::holds_alternative<FusedNetworkCandidate>(candidate) ||  // in one launch no layer has a time of its own
           std::holds_alternative<CompiledNetworkCandidate>(candidate);
  });
  for (const double sparsity : options.grid) {
    const std::vector<double> rates(parameters.size(), sparsity);
    const PrunedForNow pruned(parameters, rates, magnitude(), options.pattern);
    const auto us = product_times(compile(model, input, of_layers));
    for (LayerLatency& layer : table.layers) {
      const double now = us.contains(layer.parameter) ? us.at(layer.parameter) : 0.0;
      layer.us.push_back(layer.us.empty() ? now : std::min(now, layer.us.back()));
    }
  }
  for (const auto& [parameter, us] : product_times(dense_plan)) {
    const auto same = [&](const LayerLatency& layer) { return layer.parameter == parameter; };
    if (std::any_of(table.layers.begin(), table.layers.end(), same)) table.other_us -= us;
  }
  return table;
}

std::optional<std::vector<double>> least_harm(const LatencyTable& table, double budget_us) {
  return least_harm(table.costs(), budget_us);
}

LatencyPlan prune_for_latency(Module& model, const Shape& input, const LatencyGoal& goal,
                              const LatencyOptions& options) {
  const LatencyTable table = latency_table(model, input, options);
  const std::vector<Parameter*> parameters = weights_of(model, options.ignore);
  require(!parameters.empty(), "pruning for latency: no weight of two axes or more is left to prune");
  const double wanted = goal_us(goal, table.dense_us);
  std::optional<LatencyPlan> best;
  double budget_us = wanted;
  for (int attempt = 0; attempt < options.attempts; ++attempt) {
    const auto found = least_harm(table, budget_us);
    const std::vector<double> rates = found.value_or(cheapest_rates(table.costs()));
    const PrunedForNow pruned(parameters, rates, magnitude(), options.pattern);
    const double us = network_us(compile(model, input, options.compile), options.compile);
    if (!best || us < best->measured_us) best = plan_of(table, rates, us);
    if (us <= wanted) {
      best = plan_of(table, rates, us);
      break;
    }
    if (!found) break;  // there is nothing faster
    budget_us *= 0.98 * wanted / us;
  }
  best->goal_us = wanted;
  if (best->measured_us > wanted) refuse(*best, input[0]);
  return *best;
}

Pattern at_rates(std::vector<double> rates, double sparsity, Pattern pattern) {
  return [rates = std::move(rates), sparsity, pattern = std::move(pattern)](std::span<const Tensor> scores,
                                                                            const Budget& budget) {
    require(scores.size() == rates.size(), "at_rates: ", rates.size(), " rates for ", scores.size(),
            " weights; use Scope::global and the same ignored parameters as the search");
    Budget own = budget;
    std::vector<Mask> masks;
    for (std::size_t i = 0; i < scores.size(); ++i) {
      own.sparsity = rates[i] * (sparsity > 0 ? std::min(1.0, budget.sparsity / sparsity) : 1.0);
      masks.push_back(pattern(scores.subspan(i, 1), own).front());
    }
    return masks;
  };
}

}  // namespace espalier::pruning
