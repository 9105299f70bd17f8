// One step of a plan: all its implementations measured on the device at hand, and one chosen, with the reason.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "core/device/timer.h"
#include "pruning/lowering.h"

namespace espalier::pruning {

struct MeasuredImplementation {
  std::string format, library;
  std::optional<double> us = std::nullopt;  // median; none: not eligible
  std::string note = {};                    // why it was not chosen
};

struct PlanStep {
  std::string layer;                   // "dense_2", or what a step that is no product does: "max_pool2d"
  std::string format, implementation;  // "csr", "handwritten"; "as recorded" for a step that is no product
  double us = 0;
  std::string reason = {};
  std::string takes_in = {};                            // "max_pool2d" where the product does the pool behind it too
  double sparsity = 0;                                  // of the weight
  std::int64_t weight_bytes = 0;                        // that the product reads of its weight
  std::vector<MeasuredImplementation> candidates = {};  // in the order asked for
  std::optional<std::size_t> chosen = std::nullopt;     // of the candidates
};

struct CompileOptions {
  std::vector<Candidate> candidates = {dense(), csr(), block_csr(8, 8), two_four()};
  BenchmarkOptions timing = {.warmup = 1, .min_repeats = 3, .max_repeats = 200, .budget_ms = 10};
  int rounds = 2;  // each implementation is timed so often, in turns, and its best median counts: a slow moment of the
                   // machine then decides nothing
};

struct Choice {
  PlanStep step;
  Implementation implementation;
};

// Measures every eligible implementation of a product. A sparse one must beat dense by 2 %: below that it is noise.
// Where no candidate is eligible, the call stays as it was recorded.
Choice choose(const RecordedCall& product, const CompileOptions& options);

// The same for any other call: nothing to choose, only the time to know.
Choice keep(const RecordedCall& call, const CompileOptions& options);

}  // namespace espalier::pruning
