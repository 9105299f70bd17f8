#include "apps/commands/recipe_variants.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>

#include "kernels/require.h"

namespace espalier::apps {
namespace {

Recipe at_sparsity(Recipe recipe, double sparsity) {
  pruning::Target& target = recipe.prune.target;
  require(target.unit == pruning::Target::Unit::sparsity && target.value < 1, recipe.name, ": its target is to ",
          goal_of(target), "; --sparsities varies recipes whose target is a sparsity");
  const double share = (1 - sparsity) / (1 - target.value);
  for (auto& [name, own] : recipe.prune.layers) own = 1 - std::min(1.0, (1 - own) * share);
  target.value = sparsity;
  recipe.name += fmt::format("-{:g}", sparsity);
  return recipe;
}

}  // namespace

void add_variant_options(CLI::App& app, RecipeVariants& options) {
  app.add_option("recipes", options.recipes, "Names of recipes, or their files")->required();
  app.add_option("--train-epochs", options.train_epochs, "Of the dense networks, in place of the recipes' own")
      ->check(CLI::PositiveNumber);
  app.add_option("--tune-epochs", options.tune_epochs, "Of fine-tuning, in the same way")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--criteria", options.criteria, "Carry out each recipe with each of these in place of its own")
      ->check(CLI::IsMember(apps::criteria()));
  app.add_option("--sparsities", options.sparsities,
                 "... and at each of these; layers with sparsities of their own keep more or less, as all do")
      ->check(CLI::Range(0.0, 0.9999));
}

std::vector<Recipe> read_variants(const RecipeVariants& options) {
  std::vector<Recipe> found;
  for (const std::string& name : options.recipes) {
    Recipe recipe = read_recipe(name);
    if (recipe.train.epochs > 0) recipe.train.epochs = options.train_epochs.value_or(recipe.train.epochs);
    recipe.tune.epochs = options.tune_epochs.value_or(recipe.tune.epochs);
    std::vector<Recipe> kinds;
    if (options.criteria.empty()) kinds.push_back(recipe);
    for (const std::string& criterion : options.criteria) {
      Recipe& other = kinds.emplace_back(recipe);
      other.prune.criterion = criterion, other.name += "-" + criterion;
    }
    for (const Recipe& kind : kinds) {
      if (options.sparsities.empty()) found.push_back(kind);
      for (const double sparsity : options.sparsities) found.push_back(at_sparsity(kind, sparsity));
    }
  }
  return found;
}

}  // namespace espalier::apps
