#include "apps/commands/recipe_run.h"

#include <fmt/core.h>

#include "apps/commands/branch_options.h"
#include "apps/commands/channel_options.h"
#include "apps/commands/pruning_setup.h"
#include "apps/commands/sparse_training.h"
#include "kernels/require.h"
#include "layers/model_file.h"
#include "layers/zoo.h"

namespace espalier::apps {
namespace {

namespace fs = std::filesystem;

// Two recipes that train alike share the dense model.
std::string dense_name(const Recipe& recipe, const std::string& model, std::uint64_t seed) {
  const TrainingOptions& train = recipe.train;
  return fmt::format("dense-{}-{}-{}x{}-{}-{}-{}-{}-{}-{}{}{}-seed{}.safetensors", model, recipe.data, train.epochs,
                     train.batch, train.optimizer, train.schedule, train.learning_rate, train.momentum,
                     train.weight_decay, train.samples,
                     train.augment > 0 ? fmt::format("-augmented{}", train.augment) : "",
                     train.slimming > 0 ? fmt::format("-slimming{}", train.slimming) : "", seed);
}

Notes notes_of(const Recipe& recipe, const std::string& name, const data::ImageData& images) {
  DataOptions data;
  data.set = recipe.data;
  data.padding = (images.test.samples().dataset().image_shape()[1] - kMnistImage[1]) / 2;
  return notes_for(data, name);
}

std::unique_ptr<Module> dense_model(const Recipe& recipe, const std::string& name, std::uint64_t seed,
                                    const data::ImageData& images, const fs::path& folder, const Output& output) {
  auto fresh = std::make_unique<Sequential>(zoo::build(name, images.test.samples().dataset().image_shape(), seed));
  if (recipe.train.epochs == 0) return fresh;
  const fs::path file = folder / dense_name(recipe, name, seed);
  const Notes notes = notes_of(recipe, name, images);
  if (fs::exists(file)) {
    SavedModel found = load_model(file);
    require(found.normalisation == images.normalisation && image_of(found.notes) == image_of(notes), file.string(),
            " was trained on images scaled or padded otherwise; give the same --min-max and --padding, or another "
            "--run-dir");
    return std::move(found.module);
  }
  say(output, fmt::format("{}, seed {}: train {} for {} epochs\n", recipe.name, seed, name, recipe.train.epochs));
  TrainingOptions training = recipe.train;
  training.seed = seed;
  train(*fresh, images, training, {}, notes, output);
  save_model(file, *fresh, images.normalisation, notes);
  return fresh;
}

Teachers teachers_of(const Recipe& recipe, std::uint64_t seed, const data::ImageData& images, const fs::path& folder,
                     const Output& output) {
  require(recipe.distil.teachers == 0 || recipe.train.epochs > 0, recipe.name,
          ": [distil] wants teachers, but there is no [train] that says how they are trained");
  Teachers teachers(recipe.distil, images.normalisation);
  const std::string& name = recipe.distil.model.empty() ? recipe.model : recipe.distil.model;
  for (std::int64_t i = 0; i < recipe.distil.teachers; ++i) {
    teachers.add(dense_model(recipe, name, seed + std::uint64_t(i), images, folder, output));
  }
  return teachers;
}

}  // namespace

data::ImageData images_for(const Recipe& recipe, const DataOptions& data, std::uint64_t seed, const Output& output) {
  require(data.set.empty() || data.set == recipe.data, recipe.name, ": the recipe says data = \"", recipe.data,
          "\", but --data says ", data.set, "; leave --data out, or change the recipe");
  DataOptions wanted = data;
  wanted.set = recipe.data;
  return load_data(wanted, {.seed = seed}, output);
}

RecipeResult carry_out(const Recipe& recipe, std::uint64_t seed, const data::ImageData& images, const fs::path& folder,
                       const Output& output, const fs::path& resume) {
  std::unique_ptr<Module> model = dense_model(recipe, recipe.model, seed, images, folder, output);
  const Teachers teachers = teachers_of(recipe, seed, images, folder, output);
  const Metrics dense = judge(*model, images.test);
  TrainingOptions tuning = recipe.tune;
  tuning.seed = seed;
  if (tuning.epochs > 0) {
    say(output, fmt::format("{}, seed {}: fine-tune for {} epochs\n", recipe.name, seed, tuning.epochs));
  }
  const auto file = [&](const char* kind) {
    return folder / fmt::format("{}{}-seed{}.safetensors", recipe.name, kind, seed);
  };
  RecipeResult result = prune_and_tune(model, images, recipe.prune, tuning,
                                       teachers.loss(images.train, tuning.augment > 0),
                                       notes_of(recipe, recipe.model, images),
                                       {folder / "metrics.jsonl", file(""), file("-shrunk"), resume}, output);
  result.dense = dense;
  return result;
}

RecipeResult prune_and_tune(std::unique_ptr<Module>& model, const data::ImageData& images, PruningOptions asked,
                            const TrainingOptions& tuning, const ClassifierOptions& loss, const Notes& notes,
                            const PruneFiles& files, const Output& output) {
  const std::int64_t steps = steps_of(tuning, images);
  asked.sparse_batch = tuning.batch;
  RecipeResult result;
  result.branches = fell_branches(model, images, tuning.seed, asked, output);
  PruningSetup setup(*model, images, asked, steps, tuning.seed, output);
  if (files.resume.empty()) setup.prune_before_training();
  result.checkpoint = files.checkpoint;
  if (steps > 0) {
    const StageFiles stage{.metrics = files.metrics, .checkpoint = files.checkpoint, .resume = files.resume};
    result.tuning = train(*model, images, tuning, stage, model_notes(*model, images.normalisation, notes), output,
                          &setup.pruner(), {}, loss);
  } else {
    save_model(files.checkpoint, *model, images.normalisation, notes);
  }
  result.pruned = judge(*model, images.test);
  result.layers = setup.report();
  result.scoring = setup.pruner().cost();
  result.sparse_training = tell_sparse_training(setup.pruner(), output);
  if (prunes_channels(asked)) {
    result.shrunk = save_shrunk({files.shrunk, images.normalisation, notes}, *model, images, output);
  }
  return result;
}

nlohmann::json to_json(const RecipeResult& result) {
  nlohmann::json json = to_json(result.pruned);
  json["test_accuracy_before"] = result.dense.accuracy();
  json["sparsity"] = result.layers.sparsity();
  json["parameters_kept"] = result.layers.kept_parameters;
  json["layers"] = nlohmann::json::parse(result.layers.to_json());
  json["scoring"] = {{"scorings", result.scoring.scorings},
                     {"forward_passes", result.scoring.forward_passes},
                     {"backward_passes", result.scoring.backward_passes},
                     {"seconds", result.scoring.seconds},
                     {"bytes", result.scoring.bytes}};
  json.update(to_json(result.tuning));
  json["checkpoint"] = result.checkpoint.string();
  if (!result.branches.is_null()) json["branches"] = result.branches;
  if (!result.sparse_training.is_null()) json["sparse_training"] = result.sparse_training;
  if (!result.shrunk.is_null()) json["shrunk"] = result.shrunk;
  return json;
}

}  // namespace espalier::apps
