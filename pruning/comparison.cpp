#include "pruning/comparison.h"

#include <algorithm>

#include "kernels/gemm_tensor_core.h"
#include "pruning/network_race.h"

namespace espalier::pruning {
namespace {

bool is_sparse(const std::string& format) { return !format.empty() && format != "dense"; }

// The format that was to be compared, and why no layer took it where that is so; no name where no layer is of the kind
// that it is for.
struct Outcome {
  std::string format = {}, refusal = {};
  bool taken = false;
};

Outcome outcome_of(const std::vector<PlanStep>& steps) {
  Outcome outcome;
  for (const PlanStep& step : steps) {
    outcome.taken = outcome.taken || is_sparse(step.format);
    for (const MeasuredImplementation& one : step.candidates) {
      if (!is_sparse(one.format)) continue;
      outcome.format = one.format;
      if (!one.us) outcome.refusal = step.layer + ": " + one.note;
    }
  }
  return outcome;
}

std::optional<double> limit_of(const std::vector<PlanStep>& steps) {
  double sum = 0;
  for (const PlanStep& step : steps) {
    if (!step.limit_us) return std::nullopt;
    sum += *step.limit_us;
  }
  return sum;
}

// The same functions on the same shapes, one for one.
bool same_ways(const std::vector<PlanStep>& some, const std::vector<PlanStep>& others) {
  return std::equal(some.begin(), some.end(), others.begin(), others.end(), [](const PlanStep& a, const PlanStep& b) {
    return a.layer == b.layer && a.format == b.format && a.implementation == b.implementation;
  });
}

class Track {
 public:
  Track(Module& model, const Shape& input, const ComparisonOptions& options)
      : model_(model), input_(input), options_(options) {}

  // The baseline stays compiled: every other network is timed in turns with it.
  void begin() {
    const PrecisionScope fp32(Precision::fp32);
    baseline_.emplace(compiled({dense()}, Selection::fastest));
    result.contenders.push_back(
        {.name = "dense fp32", .steps = baseline_->steps(), .limit_us = limit_of(baseline_->steps())});
    result.contenders[0] = raced("dense fp32", *baseline_);
    result.contenders[0].dense_ratio = 1;
    result.batch = input_[0], result.timing = baseline_->timing();
  }
  void run_dense(Precision precision) {
    const PrecisionScope scope(precision);
    add(fmt::format("dense {}", espalier::to_string(precision)), compiled({dense()}, Selection::fastest));
  }
  void run_format(const Candidate& candidate) {
    const Plan plan = compiled({candidate, dense()}, Selection::first_format);
    const Outcome outcome = outcome_of(plan.steps());
    if (outcome.taken) return add(outcome.format, plan);
    if (outcome.format.empty()) return;
    result.contenders.push_back({.name = outcome.format, .note = outcome.refusal});
  }
  void run_best() { add("plan", compiled(options_.compile.candidates, Selection::fastest)); }

  Comparison result;

 private:
  Plan compiled(std::vector<Candidate> candidates, Selection selection) const {
    CompileOptions options = options_.compile;
    options.candidates = std::move(candidates), options.selection = selection;
    return compile(model_, input_, options);
  }
  // Beside dense fp32, whose time is that of the last race: the plan's own.
  Contender raced(const std::string& name, const Plan& plan) {
    Contender one{.name = name, .steps = plan.steps(), .limit_us = limit_of(plan.steps())};
    if (options_.compile.gpu) {
      one.timing.median_us = plan.steps_us();
      one.dense_ratio = baseline_->steps_us() / plan.steps_us();
      return one;
    }
    const PairedTiming pairs = timed_beside(plan);
    one.timing = pairs.second, one.dense_ratio = pairs.ratio;
    result.contenders[0].timing = pairs.first;
    return one;
  }
  PairedTiming timed_beside(const Plan& plan) const {
    const TimedWork dense{"network", "dense", "baseline", [this] { (*baseline_)(baseline_->input()); }};
    const TimedWork contender{"network", "contender", "", [&plan] { plan(plan.input()); }};
    return timed_in_pairs(dense, contender, options_.timing, options_.compile.timer);
  }
  void add(const std::string& name, const Plan& plan) {
    if (current_precision() == Precision::fp32 && same_ways(plan.steps(), baseline_->steps())) {
      twins_.push_back(result.contenders.size());
      result.contenders.push_back({.name = name, .steps = plan.steps(), .limit_us = limit_of(plan.steps())});
      result.contenders.back().same_as_dense = true;
    } else {
      result.contenders.push_back(raced(name, plan));
    }
    for (const std::size_t twin : twins_) result.contenders[twin].timing = result.contenders[0].timing;
  }

  Module& model_;
  Shape input_;
  const ComparisonOptions& options_;
  std::optional<Plan> baseline_;
  std::vector<std::size_t> twins_;  // of dense fp32
};

}  // namespace

double Comparison::speedup(const Contender& one) const { return one.dense_ratio; }

double Comparison::speedup_over_best(const Contender& one) const {
  return one.dense_ratio / contenders[best_dense].dense_ratio;
}

double time_in(const Contender& dense, const PlanStep& step) {
  if (step.whole_network) return dense.timing.median_us;
  for (const PlanStep& other : dense.steps) {
    if (other.layer == step.layer && !other.candidates.empty()) return other.us;
  }
  return 0;
}

Comparison compare_formats(Module& model, const Shape& input, const ComparisonOptions& options) {
  Track track(model, input, options);
  track.begin();
  for (const Precision precision : options.dense_precisions) {
    if (precision != Precision::fp32) track.run_dense(precision);
  }
  const std::size_t dense_ones = track.result.contenders.size();
  for (const Candidate& candidate : options.compile.candidates) {
    if (!std::holds_alternative<DenseCandidate>(candidate)) track.run_format(candidate);
  }
  track.run_best();
  for (std::size_t i = 1; i < dense_ones; ++i) {
    const auto ratio = [&](std::size_t at) { return track.result.contenders[at].dense_ratio; };
    if (ratio(i) > ratio(track.result.best_dense)) track.result.best_dense = i;
  }
  return std::move(track.result);
}

std::vector<Precision> reduced_precisions(const GpuModel* gpu) {
  std::vector<Precision> found;
  for (const Precision each : {Precision::tf32, Precision::bf16, Precision::fp16}) {
    if ((!gpu || has_products(*gpu, each)) && kernels::has_tensor_cores_for(each)) found.push_back(each);
  }
  return found;
}

}  // namespace espalier::pruning
