#include "pruning/selection.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/device/graph.h"
#include "layers/product.h"
#include "pruning/format.h"

namespace espalier::pruning {
namespace {

constexpr double kNoise = 0.02;  // of a dense time: a sparse implementation must be better by more

Tensors inputs_of(const Implementation& implementation, const RecordedCall& call) {
  return implementation.takes_weight ? call.inputs : Tensors{call.inputs[0]};
}

// Timed as the plan will run it: captured, with its memory reserved.
class Timed {
 public:
  Timed(const Implementation& implementation, const RecordedCall& call)
      : graph_([function = implementation.function, inputs = inputs_of(implementation, call)] {
          Context context{.recording = false};
          function->forward(inputs, context);
        }) {}
  void measure(const BenchmarkOptions& timing) {
    const double us = benchmark([&] { graph_.launch(); }, timing).median_us;
    best_us_ = best_us_ ? std::min(*best_us_, us) : us;
  }
  double us() const { return best_us_.value_or(0.0); }

 private:
  Graph graph_;
  std::optional<double> best_us_;
};

std::string title(const MeasuredImplementation& one) { return one.format + ", " + one.library; }

// Why `loser` was not chosen, and for a sparse one against a dense: where it would have been.
std::string why_not(const MeasuredImplementation& loser, const MeasuredImplementation& chosen, double sparsity) {
  const double ratio = *loser.us / *chosen.us;
  std::string note = fmt::format("{:.2f}x the time of {}", ratio, title(chosen));
  if (chosen.format == "dense" && loser.format != "dense" && ratio > 1.0) {
    const double pays_from = 1.0 - (1.0 - sparsity) / ratio;  // if its time is proportional to what is kept
    note +=
        fmt::format("; pays from about {:.0f} % sparsity, this weight has {:.0f} %", 100 * pays_from, 100 * sparsity);
  } else if (ratio <= 1.0) {
    note += fmt::format(": less than {:.0f} % better is noise", 100 * kNoise);
  }
  return note;
}

std::string why(const PlanStep& step) {
  const MeasuredImplementation* second = nullptr;
  for (std::size_t i = 0; i < step.candidates.size(); ++i) {
    const auto& other = step.candidates[i];
    if (i != *step.chosen && other.us && (!second || *other.us < *second->us)) second = &other;
  }
  if (!second) return "the only eligible implementation";
  return fmt::format("fastest; next {} at {:.1f} us, {:.2f}x", title(*second), *second->us, *second->us / step.us);
}

// The fastest; a sparse one only if it beats the fastest dense one by more than noise.
std::optional<std::size_t> fastest(const std::vector<MeasuredImplementation>& candidates) {
  std::optional<std::size_t> best, best_dense;
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    if (!candidates[i].us) continue;
    if (!best || *candidates[i].us < *candidates[*best].us) best = i;
    if (candidates[i].format != "dense") continue;
    if (!best_dense || *candidates[i].us < *candidates[*best_dense].us) best_dense = i;
  }
  if (best && best_dense && *candidates[*best].us > (1.0 - kNoise) * *candidates[*best_dense].us) return best_dense;
  return best;
}

std::vector<MeasuredImplementation> measure(const std::vector<Implementation>& implementations,
                                            const RecordedCall& call, const CompileOptions& options) {
  std::vector<std::optional<Timed>> timed(implementations.size());
  for (std::size_t i = 0; i < timed.size(); ++i) {
    if (implementations[i].function) timed[i].emplace(implementations[i], call);
  }
  for (int round = 0; round < options.rounds; ++round) {
    for (auto& one : timed) {
      if (one) one->measure(options.timing);
    }
  }
  std::vector<MeasuredImplementation> measured;
  for (std::size_t i = 0; i < timed.size(); ++i) {
    measured.push_back({implementations[i].format, implementations[i].library});
    if (timed[i]) measured.back().us = timed[i]->us();
    measured.back().note = implementations[i].not_eligible;
  }
  return measured;
}

double sparsity_of(const Tensor& weight) {
  return 1.0 - double(Csr::encode(weight).view().nonzeros) / double(weight.size());
}

}  // namespace

Choice choose(const RecordedCall& product, const CompileOptions& options) {
  std::vector<Implementation> implementations;
  for (const Candidate& candidate : options.candidates) {
    for (Implementation& one : implementations_of(product, candidate)) implementations.push_back(std::move(one));
  }
  PlanStep step{.layer = dynamic_cast<const ProductFunction&>(*product.function).label,
                .format = "dense",
                .implementation = "as recorded",
                .takes_in = takes_in_pool(*product.function) ? "max_pool2d" : "",
                .sparsity = sparsity_of(product.inputs[1]),
                .weight_bytes = product.inputs[1].bytes(),
                .candidates = measure(implementations, product, options)};
  step.chosen = fastest(step.candidates);
  if (!step.chosen) {
    Choice recorded = keep(product, options);
    step.us = recorded.step.us;
    step.reason = "no candidate is eligible";
    return {step, recorded.implementation};
  }
  const MeasuredImplementation winner = step.candidates[*step.chosen];
  step.format = winner.format, step.implementation = winner.library, step.us = *winner.us;
  step.weight_bytes = implementations[*step.chosen].weight_bytes;
  step.reason = why(step);
  for (std::size_t i = 0; i < step.candidates.size(); ++i) {
    auto& other = step.candidates[i];
    if (i != *step.chosen && other.us) other.note = why_not(other, winner, step.sparsity);
  }
  return {step, implementations[*step.chosen]};
}

Choice keep(const RecordedCall& call, const CompileOptions& options) {
  const Implementation recorded{
      .format = "", .library = "as recorded", .function = call.function, .takes_weight = true};
  Timed timed(recorded, call);
  timed.measure(options.timing);
  return {
      {.layer = std::string(call.function->name()), .format = "", .implementation = "as recorded", .us = timed.us()},
      recorded};
}

}  // namespace espalier::pruning
