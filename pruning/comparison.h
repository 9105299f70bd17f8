// One model in every format beside the dense one: what bench proves. Each contender is a Plan of its own:
//   "dense fp32", then "dense fp16" and whatever other precisions are allowed, then each format wherever a layer can
//   take it (the others dense), and last "plan": the fastest of each layer. A format for convolutions has no row where
//   there are none.
// Whole networks are timed in turns with dense fp32, sample by sample, and what counts is the median of the pairs: both
// meet the same moments of the machine. A network that is computed as the dense one in each of its steps is that one:
// they share one measurement.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "pruning/plan.h"

namespace espalier::pruning {

struct Contender {
  std::string name;                               // "csr"
  std::string note = {};                          // why it takes no part: no layer can take the format
  Timing timing = {};                             // of the network; of a modelled one the median only
  std::vector<PlanStep> steps = {};               // with the time of each by itself
  std::optional<double> limit_us = std::nullopt;  // the sum over its steps
  double dense_ratio = 1;                         // dense fp32 over this one, in the pairs that were timed beside it
  bool same_as_dense = false;                     // each step as in dense fp32: whose measurement this is
  bool took_part() const { return !steps.empty(); }
};

struct Comparison {
  std::int64_t batch = 0;
  std::string timing;  // whose times: "CPU emulation", "A100, modelled"
  std::vector<Contender> contenders;
  std::size_t best_dense = 0;                            // the fastest of the dense ones
  double speedup(const Contender& one) const;            // against dense fp32
  double speedup_over_best(const Contender& one) const;  // against dense in the best precision allowed
};

// What `dense` takes for a step of another contender: for the product of the same layer, or, where the step is the
// whole network, for all of it. 0: it has no such product.
double time_in(const Contender& dense, const PlanStep& step);

struct ComparisonOptions {
  CompileOptions compile = {};                   // its candidates are the formats to compare
  std::vector<Precision> dense_precisions = {};  // that the dense network may use besides fp32
  BenchmarkOptions timing = {.warmup = 2, .min_repeats = 10, .max_repeats = 500, .budget_ms = 120};
};

Comparison compare_formats(Module& model, const Shape& input, const ComparisonOptions& options = {});

// Those that products can have on the device at hand, or on the GPU that is modelled.
std::vector<Precision> reduced_precisions(const GpuModel* gpu);

}  // namespace espalier::pruning
