#include "core/train/trainer.h"

#include <fmt/format.h>

#include <chrono>
#include <cmath>

#include "core/device/stream.h"
#include "core/train/training_log.h"
#include "kernels/require.h"
#include "kernels/simt/range.h"

namespace espalier {
namespace {

class Clock {
 public:
  double seconds() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count(); }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

// What happened between two readings of the same sums.
Metrics since(const Metrics& now, const Metrics& before) {
  Metrics window = now;
  for (std::size_t i = 0; i < before.confusion.size(); ++i) window.confusion[i] -= before.confusion[i];
  const double loss_sum = now.loss * double(now.samples()) - before.loss * double(before.samples());
  window.loss = window.samples() > 0 ? loss_sum / double(window.samples()) : 0.0;
  return window;
}

void require_finite(const Metrics& metrics, const TrainingMoment& before, const TrainingMoment& now) {
  if (std::isfinite(metrics.loss)) return;
  throw DivergedError(
      fmt::format("the loss stopped being a number between step {} (learning rate {}) and step {} (learning rate {}); "
                  "lower the learning rate or warm it up, and go on from the last checkpoint",
                  before.step, before.learning_rate, now.step, now.learning_rate));
}

}  // namespace

Trainer::Trainer(Trainable model, Optimizer& optimizer, DataLoader& loader, TrainerOptions options)
    : model_(std::move(model)),
      optimizer_(optimizer),
      loader_(loader),
      options_(std::move(options)),
      metrics_(loader.classes()),
      buffers_(Batch::empty(loader.options().batch, loader.image_shape())) {
  require(model_.forward != nullptr, "trainer: the model has no forward function");
  require(options_.report_every >= 1, "trainer: a report every ", options_.report_every, " steps");
  require_supported(options_.precision);
  if (options_.precision == Precision::fp16 && !optimizer_.loss_scaler()) {
    optimizer_.scale_loss(options_.loss_scale);
  }
}

std::vector<EpochReport> Trainer::run() {
  TrainingLog log(options_.metrics_file, options_.progress == Progress::automatic);
  std::vector<EpochReport> reports;
  while (loader_.position().epoch < options_.epochs) {
    reports.push_back(run_epoch(log));
    if (!options_.checkpoint_file.empty()) save(options_.checkpoint_file);
    if (options_.after_epoch) options_.after_epoch(reports.back());
  }
  return reports;
}

EpochReport Trainer::run_epoch(TrainingLog& log) {
  const std::int64_t epoch = loader_.position().epoch;
  TrainingMoment moment{.epoch = epoch + 1,
                        .epochs = options_.epochs,
                        .batches = loader_.batches(),
                        .step = step_,
                        .learning_rate = rate_of_next_step()};
  const simt::Range range("epoch", "epoch", std::to_string(moment.epoch));
  metrics_.reset();
  Metrics read = metrics_.read();
  const Clock clock;
  double reported_at = 0;
  const auto look = [&](const Metrics& window, double seconds) {
    const TrainingMoment before = moment;
    moment.step = step_, moment.learning_rate = optimizer_.learning_rate();
    moment.loss = window.loss, moment.accuracy = window.accuracy(), moment.seconds = clock.seconds();
    moment.images_per_second = double(window.samples()) / seconds;
    require_finite(window, before, moment);
  };
  while (loader_.position().epoch == epoch) {
    moment.batch = loader_.position().position + 1;
    train_step();
    if (step_ % options_.report_every != 0) continue;
    const Metrics now = metrics_.read();
    look(since(now, read), clock.seconds() - reported_at);
    log.report(moment);
    read = now, reported_at = clock.seconds();
  }
  EpochReport report{.epoch = epoch + 1, .metrics = metrics_.read()};
  look(report.metrics, clock.seconds());
  log.epoch_done(moment);
  report.step = step_, report.learning_rate = moment.learning_rate;
  report.seconds = moment.seconds, report.images_per_second = moment.images_per_second;
  return report;
}

float Trainer::rate_of_next_step() const {
  return options_.schedule ? options_.schedule(step_) : optimizer_.learning_rate();
}

void Trainer::train_step() {
  const simt::Range range("step", "training step");
  const float rate = rate_of_next_step();
  if (rate != optimizer_.learning_rate()) optimizer_.set_learning_rate(rate);
  if (options_.execution == Execution::captured && loader_.next_size() == buffers_.size()) {
    loader_.next_into(buffers_);
    update_captured();
  } else {
    update(loader_.next());
  }
  ++step_;
  if (options_.after_step) options_.after_step(step_);
}

void Trainer::update(const Batch& batch) {
  const PrecisionScope scope(options_.precision);
  optimizer_.zero_gradients();
  optimizer_.backward(model_.forward(batch, metrics_));
  optimizer_.step();
}

void Trainer::update_captured() {
  std::vector<const void*> now = addresses();
  if (graph_ && now == captured_addresses_) return graph_->launch();
  synchronize();  // the old graph may still be running in the memory that goes with it
  optimizer_.zero_gradients();
  graph_.reset();
  graph_.emplace([this] { update(buffers_); });
  captured_addresses_ = std::move(now);
}

// Where the step's kernels find weights and masks: a graph is valid for these alone.
std::vector<const void*> Trainer::addresses() const {
  std::vector<const void*> addresses;
  for (const Parameter* parameter : optimizer_.parameters()) {
    addresses.push_back(parameter->value.value().raw());
    addresses.push_back(parameter->mask() ? parameter->mask()->keep.raw() : nullptr);
  }
  return addresses;
}

TrainingState Trainer::state() const {
  return {model_.parameters, model_.buffers, &optimizer_, &loader_, step_, options_.notes, options_.precision};
}

void Trainer::save(const std::filesystem::path& file) const { save_checkpoint(file, state()); }

void Trainer::resume(const std::filesystem::path& file) {
  const Notes saved = notes_of(read_safetensors(file));
  const Notes& own = options_.notes;
  const auto theirs = saved.find(kArchitectureNote), mine = own.find(kArchitectureNote);
  if (theirs != saved.end() && mine != own.end() && theirs->second != mine->second) {
    throw CheckpointError(fmt::format("{}: is of the model {}, the run to resume trains {}", file.string(),
                                      theirs->second, mine->second));
  }
  TrainingState restored = state();
  load_checkpoint(file, restored);
  step_ = restored.step;
  options_.notes = restored.notes;
}

}  // namespace espalier
