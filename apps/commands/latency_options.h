// prune --latency-ms or --speedup: the time to prune for, in place of a sparsity.
#pragma once
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>

#include "apps/commands/output.h"
#include "apps/commands/plan_options.h"
#include "apps/commands/pruning_options.h"
#include "pruning/width_search.h"

namespace espalier::apps {

struct LatencyRequest {
  double milliseconds = 0, speedup = 0;  // 0: not asked for
  std::int64_t granule = 8;              // widths of channels are multiples of it
  std::int64_t batch = 0;                // whose time counts; 0: as many images as a training step has
  PlanOptions plan{.no_cache = true};    // each run has zeros of its own
  bool wanted() const { return milliseconds > 0 || speedup > 0; }
};

void add_latency_options(CLI::App& app, LatencyRequest& request);

struct LatencyAnswer {
  std::optional<pruning::LatencyPlan> rates;  // of single weights
  std::optional<pruning::WidthPlan> widths;   // of channels
};

// For images [C, H, W], where the request wants anything. Says what it found, and sets the rates and the sparsity of
// `asked`, or the widths where whole channels fall; throws InvalidArgument where the time cannot be reached.
LatencyAnswer find_for_latency(const LatencyRequest& request, Module& model, const Shape& image, PruningOptions& asked,
                               const Output& output);

// What was found, and what the model takes now that it is pruned; null where nothing was wanted.
nlohmann::json latency_report(const LatencyRequest& request, const LatencyAnswer& found, Module& model,
                              const Shape& image, const Output& output);

}  // namespace espalier::apps
