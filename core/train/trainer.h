// Trains a model for some epochs: schedule, captured steps, metrics, checkpoints. It knows a model as a function from a
// batch to its loss, so it serves anything; layers/training.h makes one for a Module.
// A training step on a full batch is captured once as a graph and replayed; its batch buffers, learning rate and
// counters live at fixed places on the device. It is captured anew when a mask has been set or replaced.
#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <stdexcept>
#include <vector>

#include "core/data/loader.h"
#include "core/device/graph.h"
#include "core/device/precision.h"
#include "core/train/checkpoint.h"
#include "core/train/metrics.h"
#include "core/train/optimizer.h"
#include "core/train/schedule.h"

namespace espalier {

struct Trainable {
  // The mean loss over the batch, in training mode; adds loss and predictions to the metrics.
  std::function<Variable(const Batch&, MetricsAccumulator&)> forward;
  std::vector<Parameter*> parameters;
  std::vector<Buffer*> buffers;
};

struct EpochReport {
  std::int64_t epoch = 0;  // of all epochs, the first is 1
  std::int64_t step = 0;   // updates made so far
  Metrics metrics;         // on the training batches, as they were met
  float learning_rate = 0;
  double seconds = 0, images_per_second = 0;
};

enum class Execution { captured, eager };
enum class Progress {
  automatic,  // a bar on a terminal, a line per epoch elsewhere; on stderr
  none,
};

struct TrainerOptions {
  std::int64_t epochs = 1;                     // to have been trained in the end, those before a resumption included
  learning_rate::Schedule schedule = {};       // none: the rate that the optimizer has
  std::int64_t report_every = 100;             // steps; each report waits for the device once
  std::filesystem::path metrics_file = {};     // a JSON line per report and epoch is appended; empty: none
  std::filesystem::path checkpoint_file = {};  // written after each epoch; empty: none
  Notes notes = {};                            // what the checkpoint shall say beside
  std::function<void(std::int64_t step)> after_step = {};  // e.g. a pruner; `step` updates have been made
  std::function<void(const EpochReport&)> after_epoch = {};
  Execution execution = Execution::captured;
  Precision precision = current_precision();  // of the products' operands
  LossScaleOptions loss_scale = {};           // how the optimizer scales the loss in fp16
  Progress progress = Progress::automatic;
};

struct DivergedError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

class Trainer {
 public:
  // All three must outlive the trainer.
  Trainer(Trainable model, Optimizer& optimizer, DataLoader& loader, TrainerOptions options = {});

  std::vector<EpochReport> run();  // throws DivergedError when the loss is no longer a number
  void train_step();               // one batch; run() is made of these
  std::int64_t step() const { return step_; }

  void save(const std::filesystem::path& file) const;
  void resume(const std::filesystem::path& file);  // before run(); throws CheckpointError

 private:
  EpochReport run_epoch(class TrainingLog& log);
  float rate_of_next_step() const;
  void update(const Batch& batch);
  void update_captured();
  std::vector<const void*> addresses() const;
  TrainingState state() const;

  Trainable model_;
  Optimizer& optimizer_;
  DataLoader& loader_;
  TrainerOptions options_;
  std::int64_t step_ = 0;
  MetricsAccumulator metrics_;
  Batch buffers_;
  std::optional<Graph> graph_;
  std::vector<const void*> captured_addresses_;
};

}  // namespace espalier
