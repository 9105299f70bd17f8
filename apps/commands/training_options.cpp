#include "apps/commands/training_options.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>

#include "core/train/adam.h"
#include "core/train/sgd.h"
#include "kernels/require.h"

namespace espalier::apps {

void add_training_options(CLI::App& app, TrainingOptions& options) {
  app.add_option("--epochs", options.epochs, "Passes over the training images")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  app.add_option("--batch", options.batch, "Images per step")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--optimizer", options.optimizer, "Update rule")
      ->check(CLI::IsMember({"sgd", "adam", "adamw"}))
      ->capture_default_str();
  app.add_option("--schedule", options.schedule, "How the learning rate goes over the run")
      ->check(CLI::IsMember({"constant", "step", "cosine", "one-cycle"}))
      ->capture_default_str();
  app.add_option("--restart", options.restart,
                 "The schedule begins anew after this part of the steps (a warm restart); 0: it does not")
      ->check(CLI::Range(0.0, 0.99));
  app.add_option("--learning-rate", options.learning_rate, "Its highest value")->capture_default_str();
  app.add_option("--momentum", options.momentum, "For sgd")->capture_default_str();
  app.add_option("--weight-decay", options.weight_decay, "Pull towards zero")->capture_default_str();
  app.add_option("--samples", options.samples, "Use only the first so many training images; 0: all")
      ->check(CLI::NonNegativeNumber);
  app.add_flag("--augment{1}", options.augment,
               "Shift (2 pixels), turn (10 degrees), scale and shear (10 %) every image at random, anew in each epoch; "
               "--augment=0.25: by a quarter of that")
      ->check(CLI::Range(0.0, 4.0));
  app.add_option("--seed", options.seed, "Of the weights, the order of the images and dropout")->capture_default_str();
}

std::unique_ptr<Optimizer> make_optimizer(const TrainingOptions& options, std::vector<Parameter*> parameters) {
  if (options.optimizer == "sgd") {
    return std::make_unique<Sgd>(std::move(parameters), SgdOptions{.learning_rate = options.learning_rate,
                                                                   .momentum = options.momentum,
                                                                   .weight_decay = options.weight_decay});
  }
  const AdamOptions adam{.learning_rate = options.learning_rate, .weight_decay = options.weight_decay};
  if (options.optimizer == "adamw") return std::make_unique<AdamW>(std::move(parameters), adam);
  return std::make_unique<Adam>(std::move(parameters), adam);
}

namespace {

learning_rate::Schedule course(const TrainingOptions& options, std::int64_t steps) {
  const float rate = options.learning_rate;
  if (options.schedule == "constant" || steps < 2) return learning_rate::constant(rate);
  if (options.schedule == "cosine") return learning_rate::cosine({.peak = rate, .steps = steps});
  if (options.schedule == "step") {
    return learning_rate::step_decay({.rate = rate, .factor = 0.1f, .every = std::max<std::int64_t>(1, steps / 3)});
  }
  return learning_rate::one_cycle({.peak = rate, .steps = steps});
}

}  // namespace

learning_rate::Schedule make_schedule(const TrainingOptions& options, std::int64_t batches) {
  if (options.restart <= 0) {
    return course(options, (options.rate_epochs > 0 ? options.rate_epochs : options.epochs) * batches);
  }
  require(options.rate_epochs == 0, "rate_epochs is ", options.rate_epochs, " and restart ", options.restart,
          ": both say how long the schedule of rates is; give one");
  const std::int64_t steps = options.epochs * batches;
  if (steps < 2) return course(options, steps);
  const auto first = std::max<std::int64_t>(1, std::llround(double(options.restart) * double(steps)));
  return learning_rate::restarted(course(options, first), first, course(options, steps - first));
}

}  // namespace espalier::apps
