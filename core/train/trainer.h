// Trains a model for some epochs: schedule, captured steps, metrics, checkpoints. It knows a model as a function from a
// batch to its loss, so it serves anything; layers/training.h makes one for a Module.
// A training step, from gathering the batch to the update, is captured once as a graph and replayed (the smaller last
// batch of an epoch as one of its own): its buffers, learning rates, counters and place in the epoch live on the
// device, so that within an epoch the host does nothing but launch it, and never waits. It is captured anew when a mask
// has been set or replaced, or training begins or ends to leave pruned weights out or to draw weights at random.
#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "core/data/loader.h"
#include "core/device/graph.h"
#include "core/device/precision.h"
#include "core/train/checkpoint.h"
#include "core/train/epoch_watch.h"
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
  std::int64_t report_every = 100;             // steps; a report waits for nothing and comes when it can
  std::filesystem::path metrics_file = {};     // a JSON line per report and epoch is appended; empty: none
  std::filesystem::path checkpoint_file = {};  // written after each epoch; empty: none
  Notes notes = {};                            // what the checkpoint shall say beside
  std::function<void()> after_update = {};     // part of the captured step: may enqueue, must not wait; e.g. a penalty
  std::function<void(std::int64_t step)> after_step = {};  // e.g. a pruner; `step` updates have been made
  std::function<void(const EpochReport&)> after_epoch = {};
  Companion* companion = nullptr;                      // whose state goes into checkpoints; after_step calls it
  std::function<bool(std::int64_t step)> enough = {};  // true ends the run; asked after each epoch, or
  std::int64_t ask_every = 0;                          // after each so many steps
  Execution execution = Execution::captured;
  Precision precision = current_precision();  // of the products' operands
  LossScaleOptions loss_scale = {};           // how the optimizer scales the loss in fp16
  Progress progress = Progress::automatic;
};

class Trainer {
 public:
  // All three must outlive the trainer.
  Trainer(Trainable model, Optimizer& optimizer, DataLoader& loader, TrainerOptions options = {});

  std::vector<EpochReport>
  run();  // to the last epoch, or until it is enough; throws DivergedError when the loss is no longer a number
  void train_step();  // one batch; run() is made of these
  std::int64_t step() const { return step_; }
  bool stopped() const { return stopped_; }  // because it was enough

  void save(const std::filesystem::path& file) const;
  void resume(const std::filesystem::path& file);  // before run(); throws CheckpointError

 private:
  // Of each parameter: kept weights and random weight, or null.
  using Beside = std::vector<std::shared_ptr<const void>>;
  struct CapturedStep {
    Batch buffers;
    std::optional<Graph> graph = {};
    std::vector<const void*> addresses = {};  // that it is valid for
    Beside beside = {};                       // it reads them: the same, and alive as long as it
    Tensors gradients = {};                   // that it writes
  };
  EpochReport run_epoch(TrainingLog& log);
  bool is_enough(std::int64_t asked_every) const;
  void plan_rates();
  float rate_of(std::int64_t step) const;
  void update(const Batch& buffers);
  void update_captured();
  Tensors copies_of_gradients() const;
  std::vector<const void*> addresses() const;
  Beside beside() const;
  TrainingState state() const;

  Trainable model_;
  Optimizer& optimizer_;
  DataLoader& loader_;
  TrainerOptions options_;
  std::int64_t step_ = 0;
  MetricsAccumulator metrics_;
  std::map<std::int64_t, CapturedStep> captured_;  // by batch size
  std::vector<float> rates_;                       // of the steps to the end of the epoch
  std::int64_t rates_begin_ = 0;
  EpochWatch::Snapshots snapshots_;
  bool stopped_ = false;
};

}  // namespace espalier
