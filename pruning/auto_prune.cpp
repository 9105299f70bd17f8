#include "pruning/auto_prune.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "kernels/require.h"
#include "pruning/choice.h"
#include "pruning/report.h"
#include "pruning/weights.h"

namespace espalier::pruning {
namespace {

// Weights, buffers and masks as they were, put back at the end.
class PutBack {
 public:
  explicit PutBack(Module& model) : model_(model) {
    for (const Parameter* parameter : model.parameters()) {
      values_.push_back(parameter->value.value().clone());
      masks_.push_back(parameter->mask() ? std::optional(Mask{parameter->mask()->keep.clone()}) : std::nullopt);
    }
    for (const Buffer* buffer : model.buffers()) values_.push_back(buffer->value.clone());
  }
  ~PutBack() {
    std::size_t next = 0;
    for (Parameter* parameter : model_.parameters()) {
      parameter->clear_mask();
      parameter->value.value().copy_from(values_[next]);
      if (masks_[next]) parameter->set_mask(std::move(*masks_[next]));
      ++next;
    }
    for (Buffer* buffer : model_.buffers()) buffer->value.copy_from(values_[next++]);
  }
  PutBack(const PutBack&) = delete;
  PutBack& operator=(const PutBack&) = delete;

 private:
  Module& model_;
  std::vector<Tensor> values_;
  std::vector<std::optional<Mask>> masks_;
};

class Search {
 public:
  Search(Module& model, const Shape& input, const Judge& judge, const Tune& tune, AutoPlan& plan)
      : model_(model),
        input_(input),
        judge_(judge),
        tune_(tune),
        plan_(plan),
        parameters_(weights_of(model, plan.options.sensitivity.ignore)) {
    plan.curves = sensitivity(model, judge, plan.options.sensitivity);
    for (const Parameter* parameter : parameters_) plan.parameters.push_back(parameter->name);
    plan.dense.right = plan.curves.unpruned.right, plan.dense.samples = plan.curves.unpruned.samples;
    plan.dense.rates.assign(parameters_.size(), 0.0);
    measure(plan.dense);
    plan.dense.within = true;
    table_ = costs();
  }

  void run() {
    if (plan_.options.target) {
      attempt(*plan_.options.target);
      return;
    }
    double low = plan_.options.least, high = 1.0;  // `high` keeps the bound
    for (int i = 0; i < plan_.options.trials; ++i) {
      const double middle = std::sqrt(low * high);
      (attempt(middle) ? high : low) = middle;
    }
  }

 private:
  bool attempt(double fraction) {
    const double budget = fraction * plan_.cost_of(plan_.dense);
    const auto rates = least_harm(table_, budget);
    if (!rates) {
      require(!plan_.options.target, "auto: ", 100 * fraction, " % of the ", std::string(to_string(plan_.options.cost)),
              " cannot be met: ", table_.network_cost(cheapest_rates(table_)), " of ", plan_.cost_of(plan_.dense),
              " are left where every layer is at its floor; raise the target, or lower min_density");
      return false;
    }
    AutoCandidate candidate{.asked = fraction, .rates = *rates, .sparsity = sparsity_of(table_, *rates)};
    const PutBack put_back(model_);
    set_masks(*rates);
    tune_(model_);
    const Metrics metrics = judge_(model_);
    candidate.right = metrics.correct(), candidate.samples = metrics.samples();
    measure(candidate);
    candidate.within = candidate.accuracy() >= plan_.dense.accuracy() - plan_.options.max_drop - 1e-12;
    plan_.tried.push_back(std::move(candidate));
    return plan_.tried.back().within;
  }

  void set_masks(const std::vector<double>& rates) {
    for (std::size_t i = 0; i < rates.size(); ++i) {
      if (rates[i] == 0) continue;
      const Tensor scores[] = {plan_.options.sensitivity.criterion(*parameters_[i])};
      bury_pruned(*parameters_[i], scores[0]);
      parameters_[i]->set_mask(plan_.options.sensitivity.pattern(scores, {.sparsity = rates[i]}).front());
    }
  }

  void measure(AutoCandidate& candidate) {
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

  Module& model_;
  Shape input_;
  const Judge& judge_;
  const Tune& tune_;
  AutoPlan& plan_;
  std::vector<Parameter*> parameters_;
  CostTable table_;
};

void mark_pareto(AutoPlan& plan) {
  for (AutoCandidate& one : plan.tried) {
    one.pareto = std::none_of(plan.tried.begin(), plan.tried.end(), [&](const AutoCandidate& other) {
      const double cost = plan.cost_of(one), others = plan.cost_of(other);
      return other.right >= one.right && others <= cost && (other.right > one.right || others < cost);
    });
  }
}

void choose_best(AutoPlan& plan) {
  const AutoCandidate* nearest = nullptr;
  const AutoCandidate* best = nullptr;
  for (const AutoCandidate& one : plan.tried) {
    if (!nearest || one.right > nearest->right) nearest = &one;
    if (one.within && (!best || plan.cost_of(one) < plan.cost_of(*best))) best = &one;
  }
  require(nearest != nullptr, "auto: no layer can lose enough for any of the budgets tried");
  require(best != nullptr, "auto: no rates that were tried keep the accuracy within ", 100 * plan.options.max_drop,
          " points of ", 100 * plan.dense.accuracy(), " %; the nearest has ", 100 * nearest->accuracy(), " % with ",
          100 * plan.cost_of(*nearest) / plan.cost_of(plan.dense), " % of the ",
          std::string(to_string(plan.options.cost)), "; allow more, or train longer");
  plan.best = std::size_t(best - plan.tried.data());
}

nlohmann::json json_of(const AutoCandidate& one) {
  const Interval interval = wilson(one.right, one.samples);
  return {{"asked", one.asked},         {"rates", one.rates},           {"sparsity", one.sparsity},
          {"accuracy", one.accuracy()}, {"accuracy_low", interval.low}, {"accuracy_high", interval.high},
          {"weights", one.weights},     {"params", one.params},         {"macs", one.macs},
          {"bytes", one.bytes},         {"latency_us", one.latency_us}, {"within", one.within},
          {"pareto", one.pareto}};
}

void require_possible(const AutoOptions& options) {
  require(options.max_drop >= 0 && options.max_drop < 1, "auto: the accuracy may drop by ", options.max_drop,
          "; it is a fraction of all samples, at least 0 and below 1");
  require(options.trials >= 1, "auto: ", options.trials, " trials; needs at least 1");
  require(options.least > 0 && options.least < 1, "auto: ", options.least,
          " is no fraction of a dense network to begin with; it must be above 0 and below 1");
  require(options.min_density > 0 && options.min_density < 1 - 1.0 / kHarmSteps, "auto: each layer keeps ",
          options.min_density, " of its weights at least; it must be above 0 and leave something to prune");
  require(!options.target || (*options.target > 0 && *options.target <= 1), "auto: a target of ",
          options.target.value_or(0), "; it is the fraction of the dense cost to be left, in (0, 1]");
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
  Search(model, input, judge, tune, plan).run();
  mark_pareto(plan);
  choose_best(plan);
  return plan;
}

std::string to_string(const AutoPlan& plan) {
  std::string table = fmt::format("{:>9} {:>17} {:>10} {:>10} {:>12} {:>10} {:>12}  {}", to_string(plan.options.cost),
                                  "accuracy", "weights", "params", "MACs", "bytes", "latency us", "");
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
