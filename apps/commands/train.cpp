// espalier train: a model of the zoo from its first weights, into a run folder with checkpoint, metrics and report.
#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>

#include "apps/commands/commands.h"
#include "apps/commands/data.h"
#include "apps/commands/precision_option.h"
#include "apps/commands/run_folder.h"
#include "apps/commands/stages.h"
#include "apps/commands/trace_file.h"
#include "apps/commands/until_accuracy.h"
#include "layers/model_file.h"
#include "layers/zoo.h"

namespace espalier::apps {
namespace {

struct TrainCommand {
  Output output;
  DataOptions data;
  TrainingOptions training;
  UntilOptions until;
  std::optional<Math> math;
  Precision precision = Precision::fp32;
  std::string model = "seed-cnn";
  std::filesystem::path run_dir, resume;
  std::filesystem::path trace;

  void run() const;
};

void TrainCommand::run() const {
  const MathScope math_scope(math.value_or(current_math()));
  const PrecisionScope precision_scope(precision);
  const RunFolder folder(run_dir, "train");
  const data::ImageData images =
      load_data(data, {.validation = until.wanted() ? until.validation : 0, .seed = training.seed}, output);
  const Shape image = images.test.samples().dataset().image_shape();
  Sequential network = zoo::build(model, image, training.seed);
  const std::int64_t samples = training.samples > 0 ? training.samples : images.train.size();
  say(output, fmt::format("training {} on {} ({} images, {}, {})\n", model, images.name, samples, timing_name(),
                          to_string(precision)));
  const Notes notes = model_notes(network, images.normalisation, notes_for(data, model));
  const StageFiles files{
      .metrics = folder / "metrics.jsonl", .checkpoint = folder / "model.safetensors", .resume = resume};
  AccuracyWatch watch(until, network, images.validation, output);
  StopRule stop;
  if (until.wanted()) stop = {[&](std::int64_t step) { return watch.enough(step); }, until.evaluate_every};
  const TrainingResult result = train(network, images, training, files, notes, output, nullptr, stop);
  if (result.steps == 0) save_model(files.checkpoint, network, images.normalisation, notes);
  if (until.wanted()) say(output, watch.summary());
  const Metrics metrics = judge(network, images.test);

  nlohmann::json report = to_json(metrics);
  report["model"] = model;
  report["data"] = images.name;
  report.update(to_json(result));
  report["epochs"] = result.epochs;
  report["steps"] = result.steps;
  report["seed"] = training.seed;
  report["augment"] = training.augment;
  if (until.wanted()) report["until_accuracy"] = watch.to_json();
  report["math"] = to_string(current_math());
  report["device"] = device_json();
  report["checkpoint"] = files.checkpoint.string();
  folder.write_report(report);
  say(output, fmt::format("test accuracy {:.2f} %, {:.0f} images/s of training\n{}\n", 100 * metrics.accuracy(),
                          result.images_per_second, files.checkpoint.string()));
  print_result(output, report);
}

}  // namespace

Command train_command(CLI::App& app) {
  const auto command = std::make_shared<TrainCommand>();
  CLI::App* parser = app.add_subcommand("train", "Train a model");
  parser->add_option("--model", command->model, "Which one")
      ->check(CLI::IsMember(std::vector<std::string>(zoo::names().begin(), zoo::names().end())))
      ->capture_default_str();
  add_data_options(*parser, command->data);
  add_training_options(*parser, command->training);
  add_until_options(*parser, command->until);
  add_math_option(*parser, command->math);
  add_precision_option(*parser, command->precision);
  parser->add_option("--run-dir", command->run_dir, "Folder for the results (default: runs/train-DATE-TIME)");
  parser->add_option("--resume", command->resume, "Go on from this checkpoint of the same run");
  add_trace_option(*parser, command->trace);
  add_output_options(*parser, command->output);
  return {parser, [command] { with_trace(command->trace, "train", [&] { command->run(); }); }};
}

}  // namespace espalier::apps
