// A criterion made of words, with whatever it looks at: calibration batches, movement.
#pragma once
#include <cstdint>
#include <optional>

#include "apps/commands/pruning_options.h"
#include "core/data/image_data.h"
#include "pruning/pruner.h"

namespace espalier::apps {

class ScoringSetup {
 public:
  // The model and the images must outlive it.
  ScoringSetup(Module& model, const data::ImageData& images, const PruningOptions& options, std::uint64_t seed);
  ScoringSetup(const ScoringSetup&) = delete;
  ScoringSetup& operator=(const ScoringSetup&) = delete;

  const pruning::Criterion& criterion() const { return criterion_; }
  pruning::Calibration* calibration() { return calibration_ ? &*calibration_ : nullptr; }  // null: none is needed
  pruning::Movement* movement() { return movement_ ? &*movement_ : nullptr; }

 private:
  std::optional<pruning::Calibration> calibration_;
  std::optional<pruning::Movement> movement_;
  pruning::Criterion criterion_;
};

}  // namespace espalier::apps
