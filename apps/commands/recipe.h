// A recipe: model, dense training, pruning and fine-tuning, said in one TOML file.
#pragma once
#include <filesystem>
#include <string>
#include <vector>

#include "apps/commands/pruning_options.h"
#include "apps/commands/teachers.h"
#include "apps/commands/training_options.h"

namespace espalier::apps {

struct Recipe {
  std::string name, summary, model = "seed-cnn", data = "mnist";
  TrainingOptions train{.epochs = 0};  // no epochs: pruned as it is initialised
  TrainingOptions tune{.epochs = 5, .learning_rate = 0.001f};
  PruningOptions prune;
  Distillation distil;  // in fine-tuning
};

std::vector<std::string> recipe_names();  // of those that come with the program

// By name, or from a file. Throws InvalidArgument on what the schema does not know, FileError where there is no file.
Recipe read_recipe(const std::string& name_or_file);

}  // namespace espalier::apps
