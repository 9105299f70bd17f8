// espalier mnist: the whole way on one command. Trains seed-cnn, removes 90 % of its weights while fine-tuning,
// compiles dense and pruned plans, measures both, prints one table and leaves report.json, metrics and both checkpoints
// behind.
#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>

#include "apps/commands/commands.h"
#include "apps/commands/data.h"
#include "apps/commands/measure.h"
#include "apps/commands/precision_option.h"
#include "apps/commands/pruning_setup.h"
#include "apps/commands/run_folder.h"
#include "apps/commands/sparse_training.h"
#include "apps/commands/stages.h"
#include "apps/commands/trace_file.h"
#include "layers/model_file.h"
#include "layers/zoo.h"

namespace espalier::apps {
namespace {

constexpr const char* kModel = "seed-cnn";

struct MnistCommand {
  Output output;
  DataOptions data;
  PruningOptions pruning;
  std::optional<Math> math;
  Precision precision = Precision::fp32;
  std::int64_t epochs = 10, fine_tune_epochs = 24;
  std::uint64_t seed = 1;
  bool quick = false;
  std::vector<std::int64_t> batches{1, 32, 256, 1024};
  std::filesystem::path run_dir;
  std::filesystem::path trace;

  void run() const;
};

void MnistCommand::run() const {
  const MathScope math_scope(math.value_or(current_math()));
  const PrecisionScope precision_scope(precision);
  const RunFolder folder(run_dir, "mnist");
  const data::ImageData images = load_data(data, {.seed = seed}, output);
  const Shape image = images.test.samples().dataset().image_shape();
  Sequential model = zoo::build(kModel, image, seed);
  const Notes notes = model_notes(model, images.normalisation, notes_for(data, kModel));

  const TrainingOptions training{.epochs = quick ? 2 : epochs, .seed = seed};
  say(output, fmt::format("1. train {} on {} images ({}, {} products)\n", kModel, images.train.size(), timing_name(),
                          to_string(current_math())));
  const StageFiles dense_files{.metrics = folder / "metrics.jsonl", .checkpoint = folder / "dense.safetensors"};
  const TrainingResult trained = train(model, images, training, dense_files, notes, output);
  const Metrics dense = judge(model, images.test);
  say(output,
      fmt::format("   test accuracy {:.2f} %, {:.0f} images/s\n\n", 100 * dense.accuracy(), trained.images_per_second));

  const TrainingOptions fine_tuning{.epochs = quick ? 2 : fine_tune_epochs, .learning_rate = 0.003f, .seed = seed};
  say(output,
      fmt::format("2. {} ({}, {}) while training on\n", goal_of(pruning.target), pruning.criterion, pruning.schedule));
  Output silent = output;
  silent.quiet = true;  // twenty prunings; the table below tells what is left in the end
  PruningSetup setup(model, images, pruning, steps_of(fine_tuning, images), seed, silent);
  setup.prune_before_training();
  const StageFiles pruned_files{.metrics = folder / "metrics.jsonl", .checkpoint = folder / "pruned.safetensors"};
  const TrainingResult tuned = train(model, images, fine_tuning, pruned_files, notes, output, &setup.pruner());
  const nlohmann::json sparse_training = tell_sparse_training(setup.pruner(), output);
  const Metrics pruned = judge(model, images.test);
  const pruning::Report layers = pruning::report(model, {{1, image[0], image[1], image[2]}});
  say(output, fmt::format("{}\n   test accuracy {:.2f} %\n\n", layers, 100 * pruned.accuracy()));

  say(output, fmt::format("3. compile and measure (times: {})\n", timing_name()));
  const Measurement measured = measure(model, image, batches);
  say(output, measured.times);

  nlohmann::json report{{"dense", to_json(dense)}, {"pruned", to_json(pruned)},
                        {"bench", measured.bench}, {"plan", measured.plan},
                        {"device", device_json()}, {"data", images.name},
                        {"model", kModel},         {"seed", seed},
                        {"quick", quick},          {"math", to_string(current_math())}};
  if (!sparse_training.is_null()) report["sparse_training"] = sparse_training;
  report["dense"].update(to_json(trained));
  report["pruned"].update(to_json(tuned));
  report["pruned"]["sparsity"] = layers.sparsity();
  report["pruned"]["parameters"] = layers.parameters;
  report["pruned"]["parameters_kept"] = layers.kept_parameters;
  report["pruned"]["layers"] = nlohmann::json::parse(layers.to_json());
  folder.write_report(report);
  say(output, fmt::format("\ndense {:.2f} %, pruned {:.2f} % with {} of {} parameters; report and checkpoints in {}\n",
                          100 * dense.accuracy(), 100 * pruned.accuracy(), layers.kept_parameters, layers.parameters,
                          folder.path().string()));
  print_result(output, report);
}

}  // namespace

Command mnist_command(CLI::App& app) {
  const auto command = std::make_shared<MnistCommand>();
  CLI::App* parser = app.add_subcommand("mnist", "Train, prune, compile and measure a CNN on MNIST");
  parser->add_flag("--quick", command->quick, "Two epochs each: a look in a minute, not the best accuracy");
  parser->add_option("--epochs", command->epochs, "Of training")->capture_default_str();
  parser->add_option("--fine-tune-epochs", command->fine_tune_epochs, "Of pruning and fine-tuning")
      ->capture_default_str();
  parser->add_option("--batches", command->batches, "Batch sizes to measure")->capture_default_str();
  parser->add_option("--seed", command->seed, "Of the weights, the order of the images and dropout")
      ->capture_default_str();
  add_pruning_options(*parser, command->pruning);
  add_data_options(*parser, command->data);
  add_math_option(*parser, command->math);
  add_precision_option(*parser, command->precision);
  parser->add_option("--run-dir", command->run_dir, "Folder for the results (default: runs/mnist-DATE-TIME)");
  add_trace_option(*parser, command->trace);
  add_output_options(*parser, command->output);
  return {parser, [command] { with_trace(command->trace, "mnist", [&] { command->run(); }); }};
}

}  // namespace espalier::apps
