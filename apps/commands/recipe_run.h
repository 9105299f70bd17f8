// A model pruned while it is fine-tuned, and a recipe carried out with one seed: train, prune, fine-tune, judge.
#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

#include "apps/commands/data.h"
#include "apps/commands/recipe.h"
#include "apps/commands/stages.h"
#include "pruning/report.h"

namespace espalier::apps {

struct RecipeResult {
  Metrics dense, pruned;  // on the test images; dense: before pruning
  pruning::Report layers;
  pruning::ScoringCost scoring;
  TrainingResult tuning;
  nlohmann::json sparse_training = {};  // what tell_sparse_training() says
  std::filesystem::path checkpoint;
  nlohmann::json branches = {};  // that fell
  nlohmann::json shrunk = {};    // the smaller network, where whole channels fell
};

// Everything is written into `folder`, by names that tell seeds apart. A dense model that another recipe has trained
// there in the same way serves again. `resume`: a checkpoint of the fine-tuning, or empty.
RecipeResult carry_out(const Recipe& recipe, std::uint64_t seed, const data::ImageData& images,
                       const std::filesystem::path& folder, const Output& output,
                       const std::filesystem::path& resume = {});

struct PruneFiles {
  std::filesystem::path metrics, checkpoint, shrunk;  // to be written; shrunk: where whole channels fall
  std::filesystem::path resume = {};                  // a checkpoint of the fine-tuning, or empty
};
// Prunes the model as `asked` while training it on; all of the result but `dense`. The model may become a shallower
// one.
RecipeResult prune_and_tune(std::unique_ptr<Module>& model, const data::ImageData& images, PruningOptions asked,
                            const TrainingOptions& tuning, const ClassifierOptions& loss, const Notes& notes,
                            const PruneFiles& files, const Output& output);

data::ImageData images_for(const Recipe& recipe, const DataOptions& data, std::uint64_t seed, const Output& output);
nlohmann::json to_json(const RecipeResult& result);

}  // namespace espalier::apps
