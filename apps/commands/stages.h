// The stages that commands are made of: train a model, judge it, prune it while training on.
#pragma once
#include <filesystem>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "apps/commands/output.h"
#include "apps/commands/training_options.h"
#include "core/data/image_data.h"
#include "core/device/math.h"
#include "core/device/precision.h"
#include "core/train/checkpoint.h"
#include "core/train/loss_scaler.h"
#include "core/train/metrics.h"
#include "layers/classifier.h"
#include "layers/module.h"
#include "pruning/pruner.h"

namespace espalier::apps {

void add_math_option(CLI::App& app, std::optional<Math>& math);  // none given: the faster one of this device

// Where a stage writes; empty names write nothing.
struct StageFiles {
  std::filesystem::path metrics = {}, checkpoint = {}, resume = {};
};

struct TrainingResult {
  double images_per_second = 0, seconds = 0;
  std::int64_t epochs = 0, steps = 0;
  std::optional<LossScaleStatus> loss_scale = {};  // where the loss was scaled
};

// When to end a run before its last epoch.
struct StopRule {
  std::function<bool(std::int64_t step)> enough = {};  // none: never
  std::int64_t ask_every = 0;                          // steps; 0: after each epoch
};

// Trains in place. `pruner`, if any, steps after each update, and its state goes with the checkpoint.
TrainingResult train(Module& model, const data::ImageData& data, const TrainingOptions& options,
                     const StageFiles& files, const Notes& notes, const Output& output,
                     pruning::Pruner* pruner = nullptr, const StopRule& stop = {}, const ClassifierOptions& loss = {});

Metrics judge(Module& model, const TestSplit& test);
nlohmann::json to_json(const Metrics& metrics);
nlohmann::json to_json(const TrainingResult& result);  // images_per_second, training_seconds, epochs, precision ...
std::int64_t steps_of(const TrainingOptions& options, const data::ImageData& data);

}  // namespace espalier::apps
