// prune --auto: rates per layer, or widths where whole channels fall, under a bound on accuracy, in place of a
// sparsity.
#pragma once
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "apps/commands/latency_options.h"
#include "apps/commands/output.h"
#include "apps/commands/pruning_options.h"
#include "apps/commands/training_options.h"
#include "core/data/image_data.h"
#include "pruning/auto_prune.h"

namespace espalier::apps {

struct AutoRequest {
  bool wanted = false, measured = false;
  double max_drop = 0.1;  // points of a percent of the validation images
  std::string minimise = "params";
  int trials = 6;
  std::int64_t epochs = 1, validation = 5000;
  std::int64_t samples_set_aside() const { return wanted ? validation : 0; }
};

void add_auto_options(CLI::App& app, AutoRequest& request);  // after those of pruning and of latency

// Says what it tried, and sets the rates and the sparsity of `asked`, or the widths; a target in `asked`, or a time, is
// what the search has to meet. Times are modelled unless the request says measured.
nlohmann::json choose_rates(const AutoRequest& request, const LatencyRequest& latency, Module& model,
                            const data::ImageData& images, const TrainingOptions& training, PruningOptions& asked,
                            const Output& output);

// What came of it, once the model has been pruned and trained on: accuracy on the same images, and whether it keeps the
// bound: the report of choose_rates() with that.
nlohmann::json judge_choice(const AutoRequest& request, Module& model, const data::ImageData& images,
                            nlohmann::json report, const Output& output);

}  // namespace espalier::apps
