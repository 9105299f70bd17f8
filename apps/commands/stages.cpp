#include "apps/commands/stages.h"

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>
#include <vector>

#include "apps/commands/named_values.h"
#include "core/data/loader.h"
#include "core/train/trainer.h"
#include "layers/evaluate.h"
#include "pruning/regularizer.h"

namespace espalier::apps {
namespace {

DataLoader make_loader(const TrainingOptions& options, const data::ImageData& data) {
  const TrainSplit split = options.samples > 0 ? data.train.first(options.samples) : data.train;
  const float amount = options.augment;
  return DataLoader(split, {.batch = options.batch,
                            .shuffle = true,
                            .seed = options.seed,
                            .augmentation = {.shift = 2 * amount,
                                             .rotation_turns = amount * 10 / 360,
                                             .scale = 0.1f * amount,
                                             .shear = 0.1f * amount}});
}

TrainingResult summed(const std::vector<EpochReport>& epochs) {
  TrainingResult result;
  for (const EpochReport& epoch : epochs) {
    result.seconds += epoch.seconds;
    result.epochs = epoch.epoch;
    result.images_per_second += epoch.images_per_second * epoch.seconds;  // images, until the division below
  }
  if (result.seconds > 0) result.images_per_second /= result.seconds;
  return result;
}

}  // namespace

void add_math_option(CLI::App& app, std::optional<Math>& math) {
  take_names<Math>(
      app.add_option("--math", math, "Whose products: ours (handwritten) or the vendor's; default: the faster of each"),
      {{"handwritten", Math::handwritten}, {"vendor", Math::vendor}});
}

std::int64_t steps_of(const TrainingOptions& options, const data::ImageData& data) {
  return options.epochs * make_loader(options, data).batches();
}

TrainingResult train(Module& model, const data::ImageData& data, const TrainingOptions& options,
                     const StageFiles& files, const Notes& notes, const Output& output, pruning::Pruner* pruner,
                     const StopRule& stop, const ClassifierOptions& loss) {
  DataLoader loader = make_loader(options, data);
  const auto optimizer = make_optimizer(options, model.parameters());
  TrainerOptions trainer_options{.epochs = options.epochs,
                                 .schedule = make_schedule(options, loader.batches()),
                                 .metrics_file = files.metrics,
                                 .checkpoint_file = files.checkpoint,
                                 .notes = notes,
                                 .enough = stop.enough,
                                 .ask_every = stop.ask_every,
                                 .progress = output.quiet ? Progress::none : Progress::automatic};
  std::unique_ptr<pruning::Regularizer> penalty;
  if (options.slimming > 0) penalty = pruning::batch_norm_penalty(model, options.slimming);
  if (pruner) {
    pruner->attach(*optimizer);
    trainer_options.schedule = pruner->rates(trainer_options.schedule, options.epochs * loader.batches());
    trainer_options.companion = pruner;
    trainer_options.after_step = [pruner](std::int64_t) { pruner->step(); };
  }
  if (pruner || penalty) {
    trainer_options.after_update = [&] {
      if (penalty) penalty->apply(optimizer->rate_on_device());
      if (pruner) pruner->prepare(optimizer->rate_on_device());
    };
  }
  Trainer trainer(classifier(model, loss), *optimizer, loader, trainer_options);
  if (!files.resume.empty()) trainer.resume(files.resume);

  model.set_training(true);
  TrainingResult result = summed(trainer.run());
  model.set_training(false);
  result.steps = trainer.step();
  if (const LossScaler* scaler = optimizer->loss_scaler()) result.loss_scale = scaler->status();
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
                      {"epochs", result.epochs},
                      {"precision", to_string(current_precision())}};
  if (result.loss_scale) {
    json["loss_scale"] = result.loss_scale->scale;
    json["skipped_steps"] = result.loss_scale->skipped_steps;
  }
  return json;
}

}  // namespace espalier::apps
