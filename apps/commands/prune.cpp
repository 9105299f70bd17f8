// espalier prune: removes weights of a trained model while training on, or carries out a recipe from its first weights,
// into a run folder with the pruned checkpoint.
#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>

#include "apps/commands/auto_options.h"
#include "apps/commands/commands.h"
#include "apps/commands/data.h"
#include "apps/commands/latency_options.h"
#include "apps/commands/precision_option.h"
#include "apps/commands/pruning_rule.h"
#include "apps/commands/recipe_run.h"
#include "apps/commands/run_folder.h"
#include "apps/commands/stages.h"
#include "apps/commands/teachers.h"
#include "apps/commands/trace_file.h"
#include "kernels/require.h"
#include "layers/evaluate.h"
#include "layers/model_file.h"

namespace espalier::apps {
namespace {

struct PruneCommand {
  Output output;
  DataOptions data;
  TrainingOptions training{.epochs = 5, .learning_rate = 0.001f};
  PruningOptions pruning;
  LatencyRequest latency;
  Distillation distillation;
  AutoRequest automatic;
  std::optional<Math> math;
  Precision precision = Precision::fp32;
  std::filesystem::path checkpoint, run_dir, resume;
  std::string recipe;
  std::filesystem::path trace;

  void run() const;

 private:
  void prune_checkpoint() const;
  void carry_out_recipe() const;
  void tell(const RunFolder& folder, nlohmann::json report, const pruning::Report& layers, double before,
            double after) const;
};

void PruneCommand::run() const {
  const MathScope math_scope(math.value_or(current_math()));
  const PrecisionScope precision_scope(precision);
  require(checkpoint.empty() != recipe.empty(), "prune: give a trained model, or a recipe with --recipe");
  recipe.empty() ? prune_checkpoint() : carry_out_recipe();
}

void PruneCommand::carry_out_recipe() const {
  const Recipe read = read_recipe(recipe);
  const RunFolder folder(run_dir, "prune");
  const data::ImageData images = images_for(read, data, training.seed, output);
  const RecipeResult result = apps::carry_out(read, training.seed, images, folder.path(), output, resume);
  tell(folder, to_json(result), result.layers, result.dense.accuracy(), result.pruned.accuracy());
}

void PruneCommand::prune_checkpoint() const {
  SavedModel model = load_model(checkpoint);
  const DataOptions trained_on = data_of(data, model.notes);
  const data::ImageData images = load_data(
      trained_on,
      {.validation = automatic.samples_set_aside(), .seed = training.seed, .normalisation = model.normalisation},
      output);
  const Teachers teachers(distillation, model.normalisation);
  const RunFolder folder(run_dir, "prune");
  const Metrics before = judge(*model.module, images.test);
  const Shape image = images.test.samples().dataset().image_shape();
  PruningOptions asked = pruning;
  LatencyRequest request = latency;
  if (request.batch == 0) request.batch = training.batch;
  nlohmann::json choice;
  LatencyAnswer found;
  if (!resume.empty() && (automatic.wanted || request.wanted())) {
    take_found(resume, asked, output);
    if (automatic.wanted) choice["dense"]["accuracy"] = evaluate(*model.module, images.validation).accuracy();
  } else if (automatic.wanted) {
    choice = choose_rates(automatic, request, *model.module, images, training, asked, output);
  } else {
    found = find_for_latency(request, *model.module, image, asked, output);
  }
  const PruneFiles files{folder / "metrics.jsonl", folder / "pruned.safetensors", folder / "shrunk.safetensors",
                         resume};
  RecipeResult result = prune_and_tune(model.module, images, asked, training,
                                       teachers.loss(images.train, training.augment > 0), model.notes, files, output);
  result.dense = before;
  nlohmann::json report = to_json(result);
  if (request.wanted() && !automatic.wanted)
    report["latency"] = latency_report(request, found, *model.module, image, output);
  if (automatic.wanted) report["auto"] = judge_choice(automatic, *model.module, images, choice, output);
  tell(folder, std::move(report), result.layers, before.accuracy(), result.pruned.accuracy());
}

void PruneCommand::tell(const RunFolder& folder, nlohmann::json report, const pruning::Report& layers, double before,
                        double after) const {
  report["device"] = device_json();
  folder.write_report(report);
  say(output, fmt::format("{}\ntest accuracy {:.2f} % before, {:.2f} % after\n{}\n", layers, 100 * before, 100 * after,
                          report.at("checkpoint").get<std::string>()));
  print_result(output, report);
}

}  // namespace

Command prune_command(CLI::App& app) {
  const auto command = std::make_shared<PruneCommand>();
  CLI::App* parser = app.add_subcommand("prune", "Prune a trained model while training on");
  parser->add_option("checkpoint", command->checkpoint, "The trained model");
  CLI::Option* const recipe =
      parser->add_option("--recipe", command->recipe, "Name of a recipe, or its file, to carry out instead");
  const std::size_t before = parser->get_options().size();
  add_pruning_options(*parser, command->pruning);
  add_latency_options(*parser, command->latency);
  add_auto_options(*parser, command->automatic);
  add_training_options(*parser, command->training);
  add_distillation_options(*parser, command->distillation);
  const std::vector<CLI::Option*> said_by_recipe = parser->get_options();
  for (std::size_t i = before; i < said_by_recipe.size(); ++i) {
    if (said_by_recipe[i]->get_name() != "--seed") recipe->excludes(said_by_recipe[i]);
  }
  parser->add_option("--resume", command->resume, "Go on from this checkpoint of the same pruning");
  add_data_options(*parser, command->data);
  add_math_option(*parser, command->math);
  add_precision_option(*parser, command->precision);
  parser->add_option("--run-dir", command->run_dir, "Folder for the results (default: runs/prune-DATE-TIME)");
  add_trace_option(*parser, command->trace);
  add_output_options(*parser, command->output);
  return {parser, [command] { with_trace(command->trace, "prune", [&] { command->run(); }); }};
}

}  // namespace espalier::apps
