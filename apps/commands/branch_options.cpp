#include "apps/commands/branch_options.h"

#include <fmt/core.h>

#include <nlohmann/json.hpp>

#include "apps/commands/scoring_setup.h"
#include "kernels/require.h"
#include "layers/evaluate.h"
#include "pruning/branch_pruning.h"

namespace espalier::apps {
namespace {

void score(std::vector<pruning::Branch>& branches, Module& model, const data::ImageData& images, std::uint64_t seed,
           const PruningOptions& asked) {
  if (asked.criterion == kAblation) {  // of what data-driven criteria see: an order of branches, no result
    const ValidationSplit judging(images.train.first(asked.calibration_samples).samples());
    return score_by_loss(branches, model, [&](Module& without) { return evaluate(without, judging); });
  }
  ScoringSetup scoring(model, images, asked, seed);
  if (scoring.calibration()) scoring.calibration()->run();
  score_by_weights(branches, model, scoring.criterion());
}

}  // namespace

nlohmann::json fell_branches(std::unique_ptr<Module>& model, const data::ImageData& images, std::uint64_t seed,
                             PruningOptions& asked, const Output& output) {
  if (asked.pattern != kBranch) return nullptr;
  require(asked.criterion != "movement" && asked.criterion != "batch-norm-scale",
          "prune: branches cannot be scored by ", asked.criterion);
  const Shape image = images.test.samples().dataset().image_shape();
  const Shape input{1, image[0], image[1], image[2]};
  std::vector<pruning::Branch> found = pruning::branches(*model, input);
  score(found, *model, images, seed, asked);
  pruning::ShallowModel shallow = pruning::prune_branches(*model, input, asked.target, found);
  nlohmann::json report{{"removed", shallow.removed},
                        {"parameters_before", shallow.parameters_before},
                        {"parameters", shallow.parameters},
                        {"macs_before", shallow.macs_before},
                        {"macs", shallow.macs}};
  std::string names;
  for (const std::string& name : shallow.removed) names += " " + name;
  say(output, fmt::format("{}\nfell:{}; params {} of {}, MACs {} of {}\n", pruning::to_string(found), names,
                          shallow.parameters, shallow.parameters_before, shallow.macs, shallow.macs_before));
  for (const pruning::Branch& branch : found) report["scores"][branch.name] = branch.score;
  model = std::move(shallow.model);
  asked.pattern = "unstructured", asked.schedule = "one-shot", asked.criterion = "magnitude";
  asked.target = {pruning::Target::Unit::sparsity, 0.0};
  return report;
}

}  // namespace espalier::apps
