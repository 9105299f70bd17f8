// prune --latency-ms or --speedup: the time to prune for, in place of a sparsity.
#pragma once
#include <cstdint>
#include <nlohmann/json_fwd.hpp>

#include "apps/commands/output.h"
#include "apps/commands/plan_options.h"
#include "apps/commands/pruning_options.h"
#include "pruning/latency.h"

namespace espalier::apps {

struct LatencyRequest {
  double milliseconds = 0, speedup = 0;  // 0: not asked for
  std::int64_t batch = 0;                // whose time counts; 0: as many images as a training step has
  PlanOptions plan{.no_cache = true};    // each run has zeros of its own
  bool wanted() const { return milliseconds > 0 || speedup > 0; }
};

void add_latency_options(CLI::App& app, LatencyRequest& request);

// For images [C, H, W]. Says what it found; throws InvalidArgument where the time cannot be reached.
pruning::LatencyPlan find_rates(const LatencyRequest& request, Module& model, const Shape& image,
                                const PruningOptions& pruning, const Output& output);

// What was found, and what the model takes now that it is pruned.
nlohmann::json latency_report(const LatencyRequest& request, const pruning::LatencyPlan& found, Module& model,
                              const Shape& image, const Output& output);

}  // namespace espalier::apps
