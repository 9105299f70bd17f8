#include "pruning/comparison.h"

#include <algorithm>

#include "kernels/gemm_tensor_core.h"

namespace espalier::pruning {
namespace {

bool is_sparse(const std::string& format) { return !format.empty() && format != "dense"; }

// The format that was to be compared, and why no layer took it where that is so.
struct Outcome {
  std::string format = {}, refusal = {};
  bool taken = false;
};

Outcome outcome_of(const std::vector<PlanStep>& steps) {
  Outcome outcome{.refusal = "there is no product"};
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

class Track {
 public:
  Track(Module& model, const Shape& input, const ComparisonOptions& options)
      : model_(model), input_(input), options_(options), timing_(options.compile) {
    timing_.timing = options.timing;
  }

  // The baseline stays compiled: every other network is timed in turns with it.
  void begin() {
    const PrecisionScope fp32(Precision::fp32);
    baseline_.emplace(compiled({dense()}, Selection::fastest));
    add("dense fp32", *baseline_);
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
  Timing race(const Plan& plan) {
    if (options_.compile.gpu) return {.median_us = plan.steps_us()};
    const std::vector<Timing> times =
        time_in_turns({{"network", "dense", "baseline", [&] { (*baseline_)(baseline_->input()); }},
                       {"network", "contender", "", [&] { plan(plan.input()); }}},
                      timing_);
    if (!result.contenders.empty() && times[0].median_us < result.contenders[0].timing.median_us) {
      result.contenders[0].timing = times[0];
    }
    return times[1];
  }
  void add(const std::string& name, const Plan& plan) {
    const Timing timing = race(plan);
    result.contenders.push_back(
        {.name = name, .timing = timing, .steps = plan.steps(), .limit_us = limit_of(plan.steps())});
  }

  Module& model_;
  Shape input_;
  const ComparisonOptions& options_;
  CompileOptions timing_;  // of whole networks
  std::optional<Plan> baseline_;
};

}  // namespace

double Comparison::speedup(const Contender& one) const { return contenders[0].timing.median_us / one.timing.median_us; }

double Comparison::speedup_over_best(const Contender& one) const {
  return contenders[best_dense].timing.median_us / one.timing.median_us;
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
    const auto us = [&](std::size_t at) { return track.result.contenders[at].timing.median_us; };
    if (us(i) < us(track.result.best_dense)) track.result.best_dense = i;
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
