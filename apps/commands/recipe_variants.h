// Recipes as a comparison varies them: other lengths, criteria and sparsities in place of their own.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "apps/commands/recipe.h"

namespace CLI {
class App;
}

namespace espalier::apps {

struct RecipeVariants {
  std::vector<std::string> recipes, criteria = {};  // names or files; of the lists, none: as the recipe says
  std::vector<double> sparsities = {};
  std::optional<std::int64_t> train_epochs = std::nullopt, tune_epochs = std::nullopt;
};

void add_variant_options(CLI::App& app, RecipeVariants& options);

// Every recipe with each of the criteria and sparsities, under names that tell them apart. Where layers have sparsities
// of their own, what they keep rises and falls with the whole, up to all. Throws FileError, and InvalidArgument where
// another sparsity is asked of a recipe that has no sparsity for its target.
std::vector<Recipe> read_variants(const RecipeVariants& options);

}  // namespace espalier::apps
