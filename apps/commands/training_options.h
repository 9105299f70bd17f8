// How long and how fast to train, as said on the command line.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/train/optimizer.h"
#include "core/train/schedule.h"

namespace CLI {
class App;
}

namespace espalier::apps {

struct TrainingOptions {
  std::int64_t epochs = 10, batch = 128;
  std::string optimizer = "adam";  // sgd, adam, adamw
  std::string schedule = "one-cycle";
  float learning_rate = 0.004f;  // the peak, where a schedule has one
  float momentum = 0.9f, weight_decay = 0.0f;
  std::int64_t samples = 0;  // the first so many training images; 0: all
  std::uint64_t seed = 1;
  std::int64_t rate_epochs = 0;  // that the schedule of rates is for; 0: all. Runs that rewind go through it repeatedly
  float restart = 0.0f;          // the schedule begins anew after this part of the steps; 0: never
  float slimming = 0.0f;         // L1 on the scales of batch norms: network slimming
  float augment = 0.0f;          // how much images are shifted, turned, scaled and sheared at random: 1 is usual
};

void add_training_options(CLI::App& app, TrainingOptions& options);

std::unique_ptr<Optimizer> make_optimizer(const TrainingOptions& options, std::vector<Parameter*> parameters);
learning_rate::Schedule make_schedule(const TrainingOptions& options, std::int64_t batches);  // of an epoch

}  // namespace espalier::apps
