// Widths under a bound on accuracy: auto_prune.h for whole channels. The cost of a width depends on those of its
// neighbours, so that there is no sum over layers to minimise as for weights; one path down from the full widths, at
// each step the most cost for the least harm, holds the candidates of all budgets.
#include <algorithm>
#include <cmath>

#include "kernels/require.h"
#include "pruning/auto_search.h"
#include "pruning/channel_pruning.h"
#include "pruning/rate_search.h"
#include "pruning/shrink.h"
#include "pruning/weights.h"
#include "pruning/width_search.h"

namespace espalier::pruning {
namespace {

std::vector<double> at_channels(const std::vector<double>& harm, std::int64_t channels) {
  std::vector<double> parts, of;
  for (std::size_t i = 0; i < harm.size(); ++i) parts.push_back(double(i) / kHarmSteps);
  for (std::int64_t i = 0; i <= channels; ++i) of.push_back(interpolated(parts, harm, double(i) / double(channels)));
  return of;
}

class ChannelSearch final : public AutoSearch {
 public:
  ChannelSearch(Module& model, const Shape& input, const Judge& judge, const Tune& tune, AutoPlan& plan)
      : AutoSearch(model, input, judge, tune, plan), image_(input.with_batch(1)) {
    plan.curves = channel_sensitivity(model, image_, judge, plan.options.sensitivity);
    WidthOptions options{.compile = plan.options.latency.compile,
                         .granule = plan.options.granule,
                         .min_density = plan.options.min_density,
                         .ignore = plan.options.sensitivity.ignore};
    for (std::size_t i = 0; i < plan.curves.layers.size(); ++i) {
      const LayerSensitivity& group = plan.curves.layers[i];
      plan.parameters.push_back(group.parameter);
      options.harm[group.parameter] = at_channels(plan.curves.harm(i), group.weights);
      channels_ += double(group.weights);
      full_[group.parameter] = group.weights;
    }
    if (plan.options.cost != Cost::latency) {
      options.cost = [&](Module& smaller) {
        AutoCandidate candidate;
        count(smaller, candidate);
        return plan_.cost_of(candidate);
      };
    }
    path_ = width_path(model, input, options);
    begin();
  }

 private:
  std::optional<AutoCandidate> propose(double budget) override {
    AutoCandidate candidate;
    double cost = path_.full_cost;
    for (const WidthStep& step : path_.steps) {
      if (cost <= budget) break;
      candidate.widths[step.group] = step.width, cost = step.cost;
    }
    for (const auto& [group, width] : candidate.widths) {
      candidate.sparsity += double(full_.at(group) - width) / channels_;
    }
    return cost <= budget ? std::optional(candidate) : std::nullopt;
  }

  double least_cost() override { return path_.steps.empty() ? path_.full_cost : path_.steps.back().cost; }

  void set_masks(const AutoCandidate& candidate) override {
    if (candidate.widths.empty()) return;
    std::vector<Mask> masks = channel_masks(model_, image_, plan_.options.sensitivity.criterion, candidate.widths);
    const std::vector<Parameter*> weights = weights_of(model_);
    for (std::size_t i = 0; i < weights.size(); ++i) weights[i]->set_mask(std::move(masks[i]));
  }

  void count(Module& smaller, AutoCandidate& candidate) const {
    const ChannelGraph graph = channel_graph(smaller, image_);
    const ChannelCount count = count_left(graph, std::vector<bool>(graph.channels(), true));
    candidate.weights = count.weights, candidate.params = count.parameters;
    candidate.macs = count.macs, candidate.bytes = count.bytes();
  }

  void measure(AutoCandidate& candidate) override {
    const Shrunk small = shrink(model_, image_);
    count(*small.model, candidate);
    const CompileOptions& options = plan_.options.latency.compile;
    const Plan compiled = compile(*small.model, input_, options);
    candidate.latency_us = network_us(compiled, options);
    plan_.timing = compiled.timing();
  }

  Shape image_;  // one, which says how layers hang together
  WidthPath path_;
  std::map<std::string, std::int64_t> full_;  // widths
  double channels_ = 0;                       // that can fall
};

}  // namespace

AutoPlan auto_widths(Module& model, const Shape& input, const Judge& judge, const Tune& tune,
                     const AutoOptions& options) {
  require_possible(options);
  AutoPlan plan{.options = options, .curves = {}, .parameters = {}, .dense = {}};
  ChannelSearch(model, input, judge, tune, plan).run();
  return plan;
}

}  // namespace espalier::pruning
