// Rates for every layer under a bound on accuracy, without a number from the user:
// 1. sensitivity curves say what harm each layer's rate does (the rise of the loss, sensitivity.h);
// 2. for a budget of parameters, multiply-adds, bytes or time, rate_search.h finds the rates of least harm;
// 3. the network is pruned at these rates, trained on for a moment and judged: a candidate;
// 4. the budget is bisected, on a logarithmic scale, between what keeps the bound and what breaks it.
//   AutoPlan found = auto_prune(model, {1, 1, 28, 28}, judge, tune, {.max_drop = 0.001});
//   Pruner pruner(model, {.pattern = at_rates(found.chosen().rates, found.chosen().sparsity), ...});
// The same for the widths of layers, where whole channels fall (channel_pruning.h): curves are of groups of channels,
// width_search.h finds the widths, and candidates are measured as shrunk.
//   AutoPlan found = auto_widths(model, {1, 1, 28, 28}, judge, tune, {.max_drop = 0.001});
//   Pruner pruner(model, {.pattern = channel_pattern(model, input, {.widths = found.chosen().widths}), ...});
// The model gets its weights, buffers and masks back. With deterministic functions to judge and tune, and modelled
// times, the result is a function of the model.
#pragma once
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "pruning/latency.h"
#include "pruning/sensitivity.h"

namespace espalier::pruning {

enum class Cost { params, macs, bytes, latency };
std::string_view to_string(Cost cost);

using Tune = std::function<void(Module&)>;  // trains the masked model on for a moment

struct AutoOptions {
  Cost cost = Cost::params;
  double max_drop = 0.001;              // of the accuracy, a fraction of all samples
  std::optional<double> target = {};    // the fraction of the dense cost to meet; none: as little as the bound allows
  int trials = 6;                       // candidates trained and judged
  double least = 0.01;                  // the smallest fraction of the dense cost that is tried
  double min_density = 0.005;           // that each layer keeps at least
  SensitivityOptions sensitivity = {};  // criterion, pattern and what is ignored hold for the candidates too
  LatencyOptions latency = {};          // its compile options say whose times
  std::int64_t granule = 8;             // widths are multiples of it
};

struct AutoCandidate {
  double asked = 1;                                 // the fraction of the dense cost that was the budget
  std::vector<double> rates = {};                   // of each of the plan's parameters
  std::map<std::string, std::int64_t> widths = {};  // or of groups of channels, of those that lose any
  double sparsity = 0;                              // of the weights, or of the channels that can fall
  std::int64_t right = 0, samples = 0;
  std::int64_t weights = 0, params = 0, macs = 0, bytes = 0;
  double latency_us = 0;
  bool within = false;  // the bound
  bool pareto = false;  // no other one is as accurate for less of the cost
  double accuracy() const { return double(right) / double(samples); }
};

struct AutoPlan {
  AutoOptions options;
  Sensitivity curves;
  std::vector<std::string> parameters;
  AutoCandidate dense;
  std::vector<AutoCandidate> tried = {};  // in this order
  std::size_t best = 0;                   // of those within the bound the one of least cost
  std::string timing = {};
  const AutoCandidate& chosen() const { return tried[best]; }
  double cost_of(const AutoCandidate& candidate) const;
  std::string to_json() const;
};

// `input`: of the batch whose time counts. Throws InvalidArgument, with the nearest candidate, where nothing that was
// tried keeps the bound.
AutoPlan auto_prune(Module& model, const Shape& input, const Judge& judge, const Tune& tune,
                    const AutoOptions& options = {});

// `ignore` names groups of channels here, the pattern is channel_pattern(), and min_density counts channels.
AutoPlan auto_widths(Module& model, const Shape& input, const Judge& judge, const Tune& tune,
                     const AutoOptions& options = {});

std::string to_string(const AutoPlan& plan);  // a table of the candidates, for people

}  // namespace espalier::pruning
