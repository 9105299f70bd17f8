#include "apps/commands/model_options.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>

#include "apps/commands/data.h"
#include "layers/model_file.h"
#include "layers/zoo.h"
#include "pruning/pruner.h"

namespace espalier::apps {

void add_model_options(CLI::App& app, ModelOptions& options) {
  app.add_option("model,--model", options.model,
                 fmt::format("A checkpoint, or one of the zoo, untrained: {}", fmt::join(zoo::names(), ", ")))
      ->capture_default_str();
  app.add_option("--sparsity", options.sparsity, "Of each layer of a model of the zoo; a checkpoint brings its own")
      ->check(CLI::Range(0.0, 0.9999))
      ->capture_default_str();
}

ChosenModel open_model(const ModelOptions& options) {
  const auto& names = zoo::names();
  if (std::find(names.begin(), names.end(), options.model) == names.end()) {
    std::error_code unknown;  // opening it says what is wrong
    if (!std::filesystem::exists(options.model, unknown) && !unknown) {
      throw CheckpointError(
          fmt::format("{}: is no file and no model of the zoo, which has {}", options.model, fmt::join(names, ", ")));
    }
    SavedModel saved = load_model(options.model);
    return {std::filesystem::path(options.model).filename().string(), std::move(saved.module), image_of(saved.notes)};
  }
  ChosenModel chosen{options.model, std::make_unique<Sequential>(zoo::build(options.model, kMnistImage)), kMnistImage};
  pruning::Pruner(*chosen.module, {.scope = pruning::Scope::local}).prune_to(options.sparsity);
  return chosen;
}

}  // namespace espalier::apps
