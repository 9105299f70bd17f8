#include "pruning/auto_prune.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "kernels/require.h"
#include "pruning/auto_search.h"
#include "pruning/choice.h"
#include "pruning/report.h"
#include "pruning/weights.h"

namespace espalier::pruning {
namespace {

class RateSearch final : public AutoSearch {
 public:
  RateSearch(Module& model, const Shape& input, const Judge& judge, const Tune& tune, AutoPlan& plan)
      : AutoSearch(model, input, judge, tune, plan), parameters_(weights_of(model, plan.options.sensitivity.ignore)) {
    plan.curves = sensitivity(model, judge, plan.options.sensitivity);
    for (const Parameter* parameter : parameters_) plan.parameters.push_back(parameter->name);
    plan.dense.rates.assign(parameters_.size(), 0.0);
    begin();
    table_ = costs();
  }

 private:
  std::optional<AutoCandidate> propose(double budget) override {
    const auto rates = least_harm(table_, budget);
    if (!rates) return std::nullopt;
    return AutoCandidate{.rates = *rates, .sparsity = sparsity_of(table_, *rates)};
  }

  double least_cost() override { return table_.network_cost(cheapest_rates(table_)); }

  void set_masks(const AutoCandidate& candidate) override {
    for (std::size_t i = 0; i < candidate.rates.size(); ++i) {
      if (candidate.rates[i] == 0) continue;
      const Tensor scores[] = {plan_.options.sensitivity.criterion(*parameters_[i])};
      bury_pruned(*parameters_[i], scores[0]);
      parameters_[i]->set_mask(plan_.options.sensitivity.pattern(scores, {.sparsity = candidate.rates[i]}).front());
    }
  }

  void measure(AutoCandidate& candidate) override {
    const Report now = report(model_, input_);
    candidate.weights = now.kept(), candidate.params = now.kept_parameters;
    candidate.macs = now.kept_macs(), candidate.bytes = now.sparse_bytes();
    const CompileOptions& options = plan_.options.latency.compile;
    const Plan compiled = compile(model_, input_, options);
    candidate.latency_us = network_us(compiled, options);
    plan_.timing = compiled.timing();
  }

  // Of each layer over its rates, in the unit of the cost.
  CostTable costs() {
    const double most = 1 - plan_.options.min_density;
    if (plan_.options.cost == Cost::latency) {
      LatencyOptions options = plan_.options.latency;
      options.pattern = plan_.options.sensitivity.pattern, options.ignore = plan_.options.sensitivity.ignore;
      std::erase_if(options.grid, [&](double rate) { return rate >= most; });
      options.grid.push_back(most);
      return with_harm(latency_table(model_, input_, options).costs());
    }
    constexpr double step = 1.0 / kHarmSteps;  // the first weight that falls brings its layer a mask
    CostTable table{.grid = {0.0, step, most}};
    table.other = plan_.cost_of(plan_.dense);
    const Report now = report(model_, input_);
    for (const Parameter* parameter : parameters_) {
      const auto layer = std::find_if(now.layers.begin(), now.layers.end(),
                                      [&](const LayerReport& each) { return each.name == parameter->name; });
      double dense = double(layer->kept);
      if (plan_.options.cost == Cost::macs) dense = double(layer->kept_macs);
      if (plan_.options.cost == Cost::bytes) dense = 4.0 * double(layer->kept);
      const double mask = plan_.options.cost == Cost::bytes ? double(layer->total) / 8 : 0.0;
      table.layers.push_back(
          {parameter->name, layer->total, {dense, (1 - step) * dense + mask, (1 - most) * dense + mask}});
      table.other -= dense;
    }
    return with_harm(std::move(table));
  }

  CostTable with_harm(CostTable table) const {
    for (std::size_t i = 0; i < table.layers.size(); ++i) table.layers[i].harm = plan_.curves.harm(i);
    return table;
  }

  std::vector<Parameter*> parameters_;
  CostTable table_;
};

nlohmann::json json_of(const AutoCandidate& one) {
  const Interval interval = wilson(one.right, one.samples);
  nlohmann::json json{{"asked", one.asked},
                      {"sparsity", one.sparsity},
                      {"accuracy", one.accuracy()},
                      {"accuracy_low", interval.low},
                      {"accuracy_high", interval.high},
                      {"weights", one.weights},
                      {"params", one.params},
                      {"macs", one.macs},
                      {"bytes", one.bytes},
                      {"latency_us", one.latency_us},
                      {"within", one.within},
                      {"pareto", one.pareto}};
  if (!one.rates.empty()) json["rates"] = one.rates;
  if (!one.widths.empty()) json["widths"] = one.widths;
  return json;
}

}  // namespace

std::string_view to_string(Cost cost) {
  constexpr std::string_view names[] = {"params", "macs", "bytes", "latency"};
  return names[std::size_t(cost)];
}

double AutoPlan::cost_of(const AutoCandidate& candidate) const {
  if (options.cost == Cost::params) return double(candidate.params);
  if (options.cost == Cost::macs) return double(candidate.macs);
  return options.cost == Cost::bytes ? double(candidate.bytes) : candidate.latency_us;
}

AutoPlan auto_prune(Module& model, const Shape& input, const Judge& judge, const Tune& tune,
                    const AutoOptions& options) {
  require_possible(options);
  AutoPlan plan{.options = options, .curves = {}, .parameters = {}, .dense = {}};
  RateSearch(model, input, judge, tune, plan).run();
  return plan;
}

std::string to_string(const AutoPlan& plan) {
  std::string table = fmt::format("{:>9} {:>17} {:>10} {:>10} {:>12} {:>10} {:>12}  {}", to_string(plan.options.cost),
                                  "accuracy", "weights", "params", "MACs", "bytes", "latency µs", "");
  const auto add = [&](const AutoCandidate& one, const char* remark) {
    const Interval interval = wilson(one.right, one.samples);
    table += fmt::format("\n{:>8.2f}% {:>17} {:>10} {:>10} {:>12} {:>10} {:>12.1f}  {}", 100 * one.asked,
                         fmt::format("{:.2f} ± {:.2f} %", 100 * one.accuracy(), 50 * (interval.high - interval.low)),
                         one.weights, one.params, one.macs, one.bytes, one.latency_us, remark);
  };
  add(plan.dense, "dense");
  std::vector<const AutoCandidate*> sorted;
  for (const AutoCandidate& one : plan.tried) sorted.push_back(&one);
  std::stable_sort(sorted.begin(), sorted.end(),
                   [&](const auto* a, const auto* b) { return plan.cost_of(*a) > plan.cost_of(*b); });
  for (const AutoCandidate* one : sorted) {
    add(*one, one == &plan.chosen() ? "chosen" : !one->within ? "drops too far" : one->pareto ? "" : "beaten");
  }
  return table + fmt::format("\n(times: {})", plan.timing);
}

std::string AutoPlan::to_json() const {
  nlohmann::json json{{"cost", to_string(options.cost)},
                      {"max_drop", options.max_drop},
                      {"parameters", parameters},
                      {"dense", json_of(dense)},
                      {"chosen", best},
                      {"timing", timing},
                      {"candidates", nlohmann::json::array()}};
  for (const AutoCandidate& one : tried) json["candidates"].push_back(json_of(one));
  json["sensitivity"] = nlohmann::json::parse(curves.to_json());
  return json.dump(2);
}

}  // namespace espalier::pruning
