// espalier prune: removes weights of a trained model while training on, into a run folder with the pruned checkpoint.
#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>

#include "apps/commands/channel_options.h"
#include "apps/commands/commands.h"
#include "apps/commands/data.h"
#include "apps/commands/latency_options.h"
#include "apps/commands/run_folder.h"
#include "apps/commands/stages.h"
#include "apps/commands/trace_file.h"
#include "layers/model_file.h"

namespace espalier::apps {
namespace {

struct PruneCommand {
  Output output;
  DataOptions data;
  TrainingOptions training{.epochs = 5, .learning_rate = 0.001f};
  PruningOptions pruning;
  LatencyRequest latency;
  ChannelRequest channels;
  std::optional<Math> math;
  Precision precision = Precision::fp32;
  std::filesystem::path checkpoint, run_dir;
  std::filesystem::path trace;

  void run() const;
};

void PruneCommand::run() const {
  const MathScope math_scope(math.value_or(current_math()));
  const PrecisionScope precision_scope(precision);
  SavedModel model = load_model(checkpoint);
  const DataOptions trained_on = data_of(data, model.notes);
  const data::ImageData images =
      load_data(trained_on, {.seed = training.seed, .normalisation = model.normalisation}, output);
  const RunFolder folder(run_dir, "prune");
  const double before = judge(*model.module, images.test).accuracy();

  const Shape image = images.test.samples().dataset().image_shape();
  PruningOptions asked = pruning;
  LatencyRequest request = latency;
  if (request.batch == 0) request.batch = training.batch;
  std::optional<pruning::LatencyPlan> found;
  if (request.wanted()) {
    found = find_rates(request, *model.module, image, asked.min_density, output);
    asked.sparsity = found->sparsity, asked.rates = found->rates;
  }
  const std::int64_t steps = steps_of(training, images);
  if (channels.wanted()) asked.sparsity = channels.fraction();
  pruning::PrunerOptions rules = make_pruner_options(asked, steps, training.seed);
  if (channels.wanted()) use_channels(channels, *model.module, image, rules);
  pruning::Pruner pruner(*model.module, rules);
  const std::filesystem::path pruned = folder / "pruned.safetensors";
  const Notes notes = model_notes(*model.module, model.normalisation, model.notes);
  TrainingResult result;
  if (steps == 0) {
    pruner.prune_to(asked.sparsity);
    save_model(pruned, *model.module, model.normalisation, model.notes);
  } else {
    result = train(*model.module, images, training, {.metrics = folder / "metrics.jsonl", .checkpoint = pruned}, notes,
                   output, &pruner);
  }
  const Metrics metrics = judge(*model.module, images.test);
  const pruning::Report layers = pruning::report(*model.module, {{1, image[0], image[1], image[2]}});

  nlohmann::json report = to_json(metrics);
  report["test_accuracy_before"] = before;
  report["sparsity"] = layers.sparsity();
  report["parameters_kept"] = layers.kept_parameters;
  report["layers"] = nlohmann::json::parse(layers.to_json());
  report.update(to_json(result));
  if (found) report["latency"] = latency_report(request, *found, *model.module, image, output);
  if (channels.wanted()) report["shrunk"] = save_shrunk(folder / "shrunk.safetensors", model, images, output);
  report["device"] = device_json();
  report["checkpoint"] = pruned.string();
  folder.write_report(report);
  say(output, fmt::format("{}\ntest accuracy {:.2f} % before, {:.2f} % after\n{}\n", layers, 100 * before,
                          100 * metrics.accuracy(), pruned.string()));
  print_result(output, report);
}

}  // namespace

Command prune_command(CLI::App& app) {
  const auto command = std::make_shared<PruneCommand>();
  CLI::App* parser = app.add_subcommand("prune", "Prune a trained model while training on");
  parser->add_option("checkpoint", command->checkpoint, "The trained model")->required();
  add_pruning_options(*parser, command->pruning);
  add_channel_options(*parser, command->channels);
  add_latency_options(*parser, command->latency);
  add_data_options(*parser, command->data);
  add_training_options(*parser, command->training);
  add_math_option(*parser, command->math);
  add_precision_option(*parser, command->precision);
  parser->add_option("--run-dir", command->run_dir, "Folder for the results (default: runs/prune-DATE-TIME)");
  add_trace_option(*parser, command->trace);
  add_output_options(*parser, command->output);
  return {parser, [command] { with_trace(command->trace, "prune", [&] { command->run(); }); }};
}

}  // namespace espalier::apps
