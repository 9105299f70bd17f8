#include "pruning/auto_search.h"

#include <algorithm>
#include <cmath>

#include "kernels/require.h"
#include "pruning/rate_search.h"

namespace espalier::pruning {
namespace {

constexpr double kRounding = 0.01;  // of a target: weights and channels are whole
constexpr int kAttempts = 4;        // at a target whose costs are more than their parts

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

void mark_pareto(AutoPlan& plan) {
  for (AutoCandidate& one : plan.tried) {
    one.pareto = std::none_of(plan.tried.begin(), plan.tried.end(), [&](const AutoCandidate& other) {
      const double cost = plan.cost_of(one), others = plan.cost_of(other);
      return other.right >= one.right && others <= cost && (other.right > one.right || others < cost);
    });
  }
}

}  // namespace

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

AutoSearch::AutoSearch(Module& model, const Shape& input, const Judge& judge, const Tune& tune, AutoPlan& plan)
    : model_(model), input_(input), plan_(plan), judge_(judge), tune_(tune) {}

void AutoSearch::begin() {
  plan_.dense.right = plan_.curves.unpruned.right, plan_.dense.samples = plan_.curves.unpruned.samples;
  measure(plan_.dense);
  plan_.dense.within = true;
}

void AutoSearch::run() {
  plan_.options.target ? meet_target() : bisect();
  mark_pareto(plan_);
  choose_best();
}

void AutoSearch::meet_target() {
  const double target = *plan_.options.target, dense = plan_.cost_of(plan_.dense);
  double asked = target;
  for (int i = 0; i < kAttempts; ++i) {
    const double left = plan_.cost_of(attempt(asked)) / dense;
    if (left <= target * (1 + kRounding)) return;
    asked *= target / left;
  }
}

void AutoSearch::bisect() {
  const double floor = least_cost() / plan_.cost_of(plan_.dense);
  require(floor < 1, "auto: nothing can fall that would lower the ", std::string(to_string(plan_.options.cost)));
  double low = std::max(plan_.options.least, floor), high = 1.0;  // `high` keeps the bound
  for (int i = 0; i < plan_.options.trials; ++i) {
    const double middle = std::sqrt(low * high);
    (attempt(middle).within ? high : low) = middle;
  }
}

const AutoCandidate& AutoSearch::attempt(double fraction) {
  const std::optional<AutoCandidate> proposed = propose(fraction * plan_.cost_of(plan_.dense));
  require(proposed.has_value(), "auto: ", 100 * fraction, " % of the ", std::string(to_string(plan_.options.cost)),
          " cannot be met: ", least_cost(), " of ", plan_.cost_of(plan_.dense),
          " are left where every layer is at its floor; raise the target, or lower min_density");
  for (const AutoCandidate& earlier : plan_.tried) {
    if (earlier.rates == proposed->rates && earlier.widths == proposed->widths) return earlier;
  }
  AutoCandidate candidate = *proposed;
  candidate.asked = fraction;
  const PutBack put_back(model_);
  set_masks(candidate);
  tune_(model_);
  const Metrics metrics = judge_(model_);
  candidate.right = metrics.correct(), candidate.samples = metrics.samples();
  measure(candidate);
  candidate.within = candidate.accuracy() >= plan_.dense.accuracy() - plan_.options.max_drop - 1e-12;
  return plan_.tried.emplace_back(std::move(candidate));
}

void AutoSearch::choose_best() {
  const AutoPlan& plan = plan_;
  const double most = plan.options.target.value_or(1.0) * (1 + kRounding) * plan.cost_of(plan.dense);
  const AutoCandidate* nearest = nullptr;
  const AutoCandidate* best = nullptr;
  for (const AutoCandidate& one : plan.tried) {
    if (!nearest || one.right > nearest->right) nearest = &one;
    const bool good = one.within && (!plan.options.target || plan.cost_of(one) <= most);
    if (good && (!best || plan.cost_of(one) < plan.cost_of(*best))) best = &one;
  }
  require(best != nullptr, "auto: nothing that was tried keeps the accuracy within ", 100 * plan.options.max_drop,
          " points of ", 100 * plan.dense.accuracy(), " % and meets what was asked for; the nearest has ",
          100 * nearest->accuracy(), " % with ", 100 * plan.cost_of(*nearest) / plan.cost_of(plan.dense), " % of the ",
          std::string(to_string(plan.options.cost)), "; allow more, or train longer");
  plan_.best = std::size_t(best - plan.tried.data());
}

}  // namespace espalier::pruning
