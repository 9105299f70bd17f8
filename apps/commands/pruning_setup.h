// A pruner made of words and numbers.
#pragma once
#include <cstdint>
#include <optional>

#include "apps/commands/output.h"
#include "apps/commands/pruning_options.h"
#include "apps/commands/scoring_setup.h"
#include "core/data/image_data.h"
#include "pruning/pruner.h"

namespace espalier::apps {

class PruningSetup {
 public:
  // Over `steps` updates. Says after each pruning what is left of weights, params, MACs and bytes. The model, the
  // images and the output must outlive it.
  PruningSetup(Module& model, const data::ImageData& images, const PruningOptions& options, std::int64_t steps,
               std::uint64_t seed, const Output& output);
  PruningSetup(const PruningSetup&) = delete;
  PruningSetup& operator=(const PruningSetup&) = delete;

  pruning::Pruner& pruner() { return *pruner_; }
  // Prunes at once where the schedule says before-training, there are no steps, or the target is a threshold.
  void prune_before_training();
  pruning::Report report() const { return pruner_->report(input_); }

 private:
  void choose_pattern(pruning::PrunerOptions& options);
  std::shared_ptr<const pruning::Regularizer> penalty() const;
  void add_preparation(pruning::PrunerOptions& options, const data::ImageData& images, std::int64_t steps,
                       std::uint64_t seed) const;
  void add_regrowth(pruning::PrunerOptions& options, std::int64_t steps, std::uint64_t seed) const;

  Module& model_;
  PruningOptions options_;
  Shape input_;  // of one image
  bool at_once_;
  std::optional<double> channels_;  // the fraction that falls, where whole channels do
  ScoringSetup scoring_;
  std::optional<pruning::Pruner> pruner_;
};

}  // namespace espalier::apps
