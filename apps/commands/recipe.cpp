#include "apps/commands/recipe.h"

#include <algorithm>

#include "apps/commands/pattern_words.h"
#include "apps/commands/suggestion.h"
#include "apps/commands/toml_section.h"
#include "core/train/atomic_file.h"
#include "kernels/require.h"
#include "layers/zoo.h"

namespace espalier::apps {
namespace {

namespace fs = std::filesystem;
using pruning::Target;

// Beside the installed program, else in the source tree this one was built from.
fs::path recipes_folder() {
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error);
  const fs::path installed = program.parent_path().parent_path() / "share/espalier/recipes";
  return fs::is_directory(installed) ? installed : fs::path(ESPALIER_RECIPES);
}

void read_training(TomlSection section, TrainingOptions& options) {
  section.read("epochs", options.epochs, 0);
  section.read("batch", options.batch, 1);
  section.read_word("optimizer", options.optimizer, {"sgd", "adam", "adamw"});
  section.read_word("schedule", options.schedule, {"constant", "step", "cosine", "one-cycle"});
  section.read("learning_rate", options.learning_rate, 0, 1000);
  section.read("momentum", options.momentum, 0, 0.9999);
  section.read("weight_decay", options.weight_decay, 0, 1);
  section.read("slimming", options.slimming, 0, 1);
  section.read("samples", options.samples, 0);
  section.read("augment", options.augment, 0, 4);
  section.read("rate_epochs", options.rate_epochs, 0);
  section.read("restart", options.restart, 0, 0.99);
  section.finish();
}

bool read_target(TomlSection& section, Target& target) {
  constexpr Target::Unit units[] = {Target::Unit::sparsity, Target::Unit::params,   Target::Unit::macs,
                                    Target::Unit::bytes,    Target::Unit::channels, Target::Unit::threshold};
  int given = 0;
  for (const Target::Unit unit : units) {
    double value = 0;
    if (!section.read(std::string(to_string(unit)).c_str(), value, 0, unit == Target::Unit::sparsity ? 0.9999 : 1e18)) {
      continue;
    }
    target = {unit, value};
    ++given;
  }
  require(given <= 1, "[prune]: ", given, " targets; give one of sparsity, params, macs, bytes, channels, threshold");
  return given > 0;
}

void read_pruning(TomlSection section, PruningOptions& options) {
  section.read_word("criterion", options.criterion, criteria());
  section.read_word("group", options.group, fault_of_group);
  section.read_word("group_score", options.group_score, group_scores());
  section.read_word("normalisation", options.normalisation, normalisations());
  section.read_word("pattern", options.pattern, fault_of_pattern);
  section.read_word("scope", options.scope, scopes());
  section.read_word("schedule", options.schedule, schedules());
  section.read_word("regrowth", options.regrowth, regrowths());
  section.read_word("preparation", options.preparation, preparations());
  section.read("strength", options.strength, 1e-6, 1e6);
  section.read("preparation_rate", options.preparation_rate, 1e-6, 1e3);
  section.read_word("penalty", options.penalty, penalties());
  section.read("penalty_strength", options.penalty_strength, 1e-9, 1e6);
  section.read("penalty_end", options.penalty_end, 0, 1);
  options.target_said = read_target(section, options.target);
  section.read("min_density", options.min_density, 0, 1);
  section.read("max_density", options.max_density, 0, 1);
  section.read("ignore", options.ignore);
  section.read("layers", options.layers);
  section.read("calibration_samples", options.calibration_samples, 1);
  section.read("calibration_batch", options.calibration_batch, 1);
  section.read("begin", options.begin, 0, 1);
  section.read("end", options.end, 0, 1);
  section.read("fraction", options.fraction, 0.001, 0.999);
  section.read("regrowth_fraction", options.regrowth_fraction, 0.001, 0.999);
  section.read("regrowth_every", options.regrowth_every, 1);
  section.read_word("sparse_training", options.sparse_training, sparse_trainings());
  section.read("release", options.release, 0, 1);
  section.read("permute", options.permute);
  section.read("rewind", options.rewind, -1);
  section.finish();
}

std::vector<std::string> models() { return {zoo::names().begin(), zoo::names().end()}; }

void read_distillation(TomlSection section, Distillation& distil) {
  section.read("teachers", distil.teachers, 1);
  section.read_word("model", distil.model, models());
  section.read("temperature", distil.temperature, 0.01, 1000);
  section.read("weight", distil.weight, 0, 1);
  section.read("ask_once", distil.ask_once);
  section.finish();
}

Recipe recipe_from(const toml::table& table, const std::string& name) {
  Recipe recipe;
  recipe.name = name;
  TomlSection root(table, name);
  root.read("summary", recipe.summary);
  root.read_word("model", recipe.model, models());
  root.read_word("data", recipe.data, {"mnist", "fashion-mnist"});
  const bool trains = root.has("train");
  recipe.train = {};
  read_training(root.section("train"), recipe.train);
  if (!trains) recipe.train.epochs = 0;
  read_training(root.section("tune"), recipe.tune);
  read_pruning(root.section("prune"), recipe.prune);
  if (root.has("distil")) recipe.distil.teachers = 1;
  read_distillation(root.section("distil"), recipe.distil);
  root.finish();
  return recipe;
}

}  // namespace

std::vector<std::string> recipe_names() {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(recipes_folder())) {
    if (entry.path().extension() == ".toml") names.push_back(entry.path().stem().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

Recipe read_recipe(const std::string& name_or_file) {
  fs::path file = name_or_file;
  if (!fs::exists(file)) file = recipes_folder() / (name_or_file + ".toml");
  if (!fs::exists(file)) {
    const std::string near = nearest(name_or_file, recipe_names());
    throw FileError("there is no recipe " + name_or_file + ", neither as a file nor by name" +
                    (near.empty() ? "" : "; did you mean " + near + "?"));
  }
  try {
    return recipe_from(toml::parse_file(file.string()), file.stem().string());
  } catch (const toml::parse_error& error) {
    throw InvalidArgument(file.string() + ":" + std::to_string(error.source().begin.line) + ": " +
                          std::string(error.description()));
  }
}

}  // namespace espalier::apps
