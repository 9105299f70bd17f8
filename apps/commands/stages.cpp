#include "apps/commands/stages.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <nlohmann/json.hpp>
#include <vector>

#include "core/data/loader.h"
#include "core/train/trainer.h"
#include "layers/classifier.h"
#include "layers/evaluate.h"
#include "pruning/latency.h"

namespace espalier::apps {
namespace {

DataLoader make_loader(const TrainingOptions& options, const data::ImageData& data) {
  const TrainSplit split = options.samples > 0 ? data.train.first(options.samples) : data.train;
  const Augmentation none, usual{.shift = 2, .rotation_turns = 10.0f / 360, .scale = 0.1f, .shear = 0.1f};
  return DataLoader(
      split,
      {.batch = options.batch, .shuffle = true, .seed = options.seed, .augmentation = options.augment ? usual : none});
}

}  // namespace

void add_math_option(CLI::App& app, std::optional<Math>& math) {
  const std::vector<std::pair<std::string, Math>> names{{"handwritten", Math::handwritten}, {"vendor", Math::vendor}};
  app.add_option("--math", math, "Whose products: ours (handwritten) or the vendor's; default: the faster of each")
      ->transform(CLI::CheckedTransformer(names));
}

void add_precision_option(CLI::App& app, Precision& precision) {
  std::vector<std::pair<std::string, Precision>> names;
  for (const Precision each : {Precision::fp32, Precision::tf32, Precision::bf16, Precision::fp16}) {
    names.emplace_back(to_string(each), each);
  }
  app.add_option("--precision", precision, "What products read their operands in; weights and sums are fp32 in all")
      ->transform(CLI::CheckedTransformer(names))
      ->default_str("fp32");
}

std::int64_t steps_of(const TrainingOptions& options, const data::ImageData& data) {
  return options.epochs * make_loader(options, data).batches();
}

TrainingResult train(Module& model, const data::ImageData& data, const TrainingOptions& options,
                     const StageFiles& files, const Notes& notes, const Output& output, pruning::Pruner* pruner,
                     const StopRule& stop) {
  DataLoader loader = make_loader(options, data);
  const auto optimizer = make_optimizer(options, model.parameters());
  TrainerOptions trainer_options{.epochs = options.epochs,
                                 .schedule = make_schedule(options, options.epochs * loader.batches()),
                                 .metrics_file = files.metrics,
                                 .checkpoint_file = files.checkpoint,
                                 .notes = notes,
                                 .enough = stop.enough,
                                 .ask_every = stop.ask_every,
                                 .progress = output.quiet ? Progress::none : Progress::automatic};
  if (pruner) {
    trainer_options.after_step = [pruner](std::int64_t step) {
      pruner->set_steps(int(step) - 1);  // a resumed run goes on with its schedule
      pruner->step();
    };
  }
  Trainer trainer(classifier(model), *optimizer, loader, trainer_options);
  if (!files.resume.empty()) trainer.resume(files.resume);

  TrainingResult result;
  model.set_training(true);
  for (const EpochReport& epoch : trainer.run()) {
    result.seconds += epoch.seconds;
    result.epochs = epoch.epoch;
    result.images_per_second += epoch.images_per_second * epoch.seconds;  // images, until the division below
  }
  model.set_training(false);
  if (result.seconds > 0) result.images_per_second /= result.seconds;
  result.steps = trainer.step();
  if (const LossScaler* scaler = optimizer->loss_scaler()) result.loss_scale = scaler->status();
  return result;
}

void add_pruning_options(CLI::App& app, PruningOptions& options) {
  app.add_option("--sparsity", options.sparsity, "Fraction of the weights to remove")
      ->check(CLI::Range(0.0, 0.9999))
      ->capture_default_str();
  app.add_option("--criterion", options.criterion, "What makes a weight matter")
      ->check(CLI::IsMember({"magnitude", "random"}))
      ->capture_default_str();
  app.add_option("--scope", options.scope, "Who competes: all layers (global) or each on its own (local)")
      ->check(CLI::IsMember({"global", "local"}))
      ->capture_default_str();
  app.add_option("--prune-schedule", options.schedule, "Gradually while training on (cubic), or all at once (one-shot)")
      ->check(CLI::IsMember({"cubic", "one-shot"}))
      ->capture_default_str();
  app.add_option("--min-density", options.min_density, "Fraction of its weights that each layer keeps at least")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
}

pruning::PrunerOptions make_pruner_options(const PruningOptions& options, std::int64_t steps, std::uint64_t seed) {
  pruning::PrunerOptions result{.min_density = options.min_density};
  if (options.criterion == "random") result.criterion = pruning::random(seed);
  result.scope = options.scope == "local" ? pruning::Scope::local : pruning::Scope::global;
  if (!options.rates.empty()) {
    result.pattern = pruning::at_rates(options.rates, options.sparsity);
    result.scope = pruning::Scope::global;  // which shows the pattern all weights at once
  }
  const int end = std::max(1, int(0.4 * double(steps)));
  result.schedule = options.schedule == "one-shot" || steps < 2
                        ? pruning::one_shot(options.sparsity)
                        : pruning::cubic({.to = options.sparsity, .end = end, .every = std::max(1, end / 20)});
  return result;
}

Metrics judge(Module& model, const TestSplit& test) {
  model.set_training(false);
  return evaluate(model, test);
}

nlohmann::json to_json(const Metrics& metrics) {
  nlohmann::json classes = nlohmann::json::array();
  for (std::int64_t label = 0; label < metrics.classes; ++label) {
    classes.push_back({{"class", label},
                       {"precision", metrics.precision(label)},
                       {"recall", metrics.recall(label)},
                       {"f1", metrics.f1(label)}});
  }
  return {{"samples", metrics.samples()},
          {"test_accuracy", metrics.accuracy()},
          {"test_loss", metrics.loss},
          {"macro_f1", metrics.macro_f1()},
          {"classes", classes}};
}

nlohmann::json to_json(const TrainingResult& result) {
  nlohmann::json json{{"images_per_second", result.images_per_second},
                      {"training_seconds", result.seconds},
                      {"precision", to_string(current_precision())}};
  if (result.loss_scale) {
    json["loss_scale"] = result.loss_scale->scale;
    json["skipped_steps"] = result.loss_scale->skipped_steps;
  }
  return json;
}

}  // namespace espalier::apps
