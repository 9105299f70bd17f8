// A small training run with everything that has state: convolution, batch norm, dropout, masks, a smaller last batch.
#pragma once
#include <memory>

#include "core/data/synthetic.h"
#include "core/train/adam.h"
#include "core/train/sgd.h"
#include "layers/classifier.h"
#include "layers/layers.h"

namespace espalier::test {

inline data::ImageData small_data() {
  return data::synthetic({.train = 70, .test = 30, .height = 12, .width = 12}, {.validation = 8});
}

inline Sequential small_model(std::uint64_t seed = 1) {
  return Sequential(Conv2d(1, 3, {.seed = seed}), BatchNorm2d(3), Relu(), MaxPool2d(2), Flatten(),
                    Dropout(0.25, /*seed=*/5), Dense(75, 10, {.seed = seed + 1}));
}

inline std::unique_ptr<Optimizer> make_optimizer(const std::string& kind, std::vector<Parameter*> parameters) {
  if (kind == "sgd") return std::make_unique<Sgd>(parameters, SgdOptions{.learning_rate = 0.05f, .momentum = 0.9f});
  if (kind == "adam") return std::make_unique<Adam>(parameters, AdamOptions{.learning_rate = 0.01f});
  return std::make_unique<AdamW>(parameters, AdamOptions{.learning_rate = 0.01f, .weight_decay = 0.05f});
}

// Keeps two of three weights of every matrix and filter bank.
inline void prune_every_third(const std::vector<Parameter*>& parameters) {
  for (Parameter* parameter : parameters) {
    if (!parameter->name.ends_with(".weight")) continue;
    std::vector<std::uint8_t> keep;
    for (std::int64_t i = 0; i < parameter->size(); ++i) keep.push_back(i % 3 != 1);
    parameter->set_mask({Tensor::from(parameter->value.shape(), keep)});
  }
}

// A run of two epochs, 5 steps each, with a mask set after the fourth step.
class SmallRun {
 public:
  static constexpr std::int64_t kSteps = 10, kPrunedAfter = 4;

  SmallRun(const std::string& kind, std::uint64_t seed, TrainerOptions options = {})
      : data_(small_data()),
        model_(small_model(seed)),
        loader_(data_.train, {.batch = 14, .seed = 7}),
        optimizer_(make_optimizer(kind, model_.parameters())),
        trainer_(classifier(model_), *optimizer_, loader_, with_defaults(std::move(options))) {}

  Sequential& model() { return model_; }
  Optimizer& optimizer() { return *optimizer_; }
  DataLoader& loader() { return loader_; }
  Trainer& trainer() { return trainer_; }
  const data::ImageData& data() const { return data_; }

  // Every bit that the run has changed.
  std::vector<std::vector<std::byte>> bits() {
    std::vector<std::vector<std::byte>> all;
    for (Parameter* parameter : model_.parameters()) {
      all.push_back(parameter->value.value().to_host_bytes());
      all.push_back(parameter->mask() ? parameter->mask()->keep.to_host_bytes() : std::vector<std::byte>{});
    }
    for (Buffer* buffer : model_.buffers()) all.push_back(buffer->value.to_host_bytes());
    for (Buffer* buffer : optimizer_->state()) all.push_back(buffer->value.to_host_bytes());
    return all;
  }

 private:
  TrainerOptions with_defaults(TrainerOptions options) {
    options.epochs = 2;
    options.progress = Progress::none;
    if (!options.schedule) options.schedule = learning_rate::one_cycle({.peak = 0.02f, .steps = kSteps});
    if (!options.after_step) {
      options.after_step = [this](std::int64_t step) {
        if (step == kPrunedAfter) prune_every_third(model_.parameters());
      };
    }
    return options;
  }
  data::ImageData data_;
  Sequential model_;
  DataLoader loader_;
  std::unique_ptr<Optimizer> optimizer_;
  Trainer trainer_;
};

}  // namespace espalier::test
