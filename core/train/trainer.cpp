#include "core/train/trainer.h"

#include <fmt/format.h>

#include "core/device/stream.h"
#include "core/train/compressed_file.h"
#include "core/train/training_log.h"
#include "kernels/require.h"
#include "kernels/simt/range.h"

namespace espalier {
namespace {

// To what a captured step computes it for.
void give_gradient(Parameter& parameter, const Tensor& gradient) {
  const bool of_kept = parameter.kept() && gradient.shape() == parameter.kept()->values.shape();
  (of_kept ? parameter.kept()->values : parameter.value).set_gradient(gradient);
}

}  // namespace

Trainer::Trainer(Trainable model, Optimizer& optimizer, DataLoader& loader, TrainerOptions options)
    : model_(std::move(model)),
      optimizer_(optimizer),
      loader_(loader),
      options_(std::move(options)),
      metrics_(loader.classes()) {
  require(model_.forward != nullptr, "trainer: the model has no forward function");
  require(options_.report_every >= 1, "trainer: a report every ", options_.report_every, " steps");
  require(options_.ask_every >= 0, "trainer: asked every ", options_.ask_every, " steps whether it is enough");
  require_supported(options_.precision);
  if (options_.precision == Precision::fp16 && !optimizer_.loss_scaler()) {
    optimizer_.scale_loss(options_.loss_scale);
  }
}

std::vector<EpochReport> Trainer::run() {
  TrainingLog log(options_.metrics_file, options_.progress == Progress::automatic);
  std::vector<EpochReport> reports;
  stopped_ = false;
  while (!stopped_ && loader_.position().epoch < options_.epochs) {
    reports.push_back(run_epoch(log));
    if (!options_.checkpoint_file.empty()) save(options_.checkpoint_file);
    if (options_.after_epoch) options_.after_epoch(reports.back());
    stopped_ = stopped_ || is_enough(0);
  }
  return reports;
}

bool Trainer::is_enough(std::int64_t asked_every) const {
  if (!options_.enough || options_.ask_every != asked_every) return false;
  return (asked_every == 0 || step_ % asked_every == 0) && options_.enough(step_);
}

EpochReport Trainer::run_epoch(TrainingLog& log) {
  const std::int64_t epoch = loader_.position().epoch;
  plan_rates();
  TrainingMoment place{.epoch = epoch + 1,
                       .epochs = options_.epochs,
                       .batches = loader_.batches(),
                       .step = step_,
                       .learning_rate = rate_of(step_)};
  const simt::Range range("epoch", "epoch", std::to_string(place.epoch));
  EpochWatch watch(metrics_, log, place, snapshots_);
  while (loader_.position().epoch == epoch && !stopped_) {
    place.batch = loader_.position().position + 1;
    place.learning_rate = rate_of(step_);
    train_step();
    place.step = step_;
    if (step_ % options_.report_every == 0) watch.look(place);
    stopped_ = options_.ask_every > 0 && is_enough(options_.ask_every);
  }
  const TrainingMoment whole = watch.finish(place);
  log.epoch_done(whole);
  return {.epoch = epoch + 1,
          .step = step_,
          .metrics = watch.metrics(),
          .learning_rate = whole.learning_rate,
          .seconds = whole.seconds,
          .images_per_second = whole.images_per_second};
}

// All rates to the end of the epoch go to the device at once: no step brings its own.
void Trainer::plan_rates() {
  if (!options_.schedule || step_ < rates_begin_ + std::int64_t(rates_.size())) return;
  const std::int64_t left = loader_.batches() - loader_.position().position;
  rates_.clear();
  rates_begin_ = step_;
  for (std::int64_t i = 0; i < left; ++i) rates_.push_back(options_.schedule(step_ + i));
  optimizer_.set_learning_rates(rates_);
}

float Trainer::rate_of(std::int64_t step) const {
  return options_.schedule ? rates_.at(std::size_t(step - rates_begin_)) : optimizer_.learning_rate();
}

void Trainer::train_step() {
  const simt::Range range("step", "training step");
  plan_rates();
  loader_.stage();
  if (options_.execution == Execution::captured) {
    update_captured();
  } else {
    update(Batch::empty(loader_.next_size(), loader_.image_shape()));
  }
  loader_.count_as_taken();
  ++step_;
  if (options_.after_step) options_.after_step(step_);
}

void Trainer::update(const Batch& buffers) {
  const PrecisionScope scope(options_.precision);
  loader_.enqueue(buffers);
  optimizer_.zero_gradients();
  optimizer_.backward(model_.forward(buffers, metrics_));
  optimizer_.step();
  if (options_.after_update) options_.after_update();
}

void Trainer::update_captured() {
  CapturedStep& step = captured_[loader_.next_size()];
  std::vector<const void*> now = addresses();
  Beside beside_now = beside();
  const std::vector<Parameter*>& parameters = optimizer_.parameters();
  if (step.graph && now == step.addresses && beside_now == step.beside) {
    step.graph->launch();
    for (std::size_t i = 0; i < parameters.size(); ++i) {  // those of a graph of another size may stand there
      if (step.gradients[i].defined()) give_gradient(*parameters[i], step.gradients[i]);
    }
    return;
  }
  synchronize();  // the old graph may still be running in the memory that goes with it
  optimizer_.zero_gradients();
  step = {.buffers = Batch::empty(loader_.next_size(), loader_.image_shape())};
  Tensors gradients;  // of the run that counts: those of the captured one lie elsewhere and are not written yet
  MemoryPool& outside = current_pool();
  step.graph.emplace([&] {
    update(step.buffers);
    const PoolScope scope(outside);
    if (gradients.empty()) gradients = copies_of_gradients();
  });
  step.addresses = std::move(now);
  step.beside = std::move(beside_now);
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    step.gradients.push_back(gradients[i].defined() ? parameters[i]->trained().gradient() : Tensor());
    if (gradients[i].defined()) step.gradients[i].copy_from(gradients[i]);
  }
}

Tensors Trainer::copies_of_gradients() const {
  Tensors copies;
  for (const Parameter* parameter : optimizer_.parameters()) {
    const Variable& trained = parameter->trained();
    copies.push_back(trained.has_gradient() ? trained.gradient().clone() : Tensor());
  }
  return copies;
}

// Where the step's kernels find weights and masks: a graph is valid for these alone.
std::vector<const void*> Trainer::addresses() const {
  std::vector<const void*> addresses;
  for (const Parameter* parameter : optimizer_.parameters()) {
    addresses.push_back(parameter->value.value().raw());
    addresses.push_back(parameter->keep_bits().raw());  // undefined without a mask: null
  }
  return addresses;
}

TrainingState Trainer::state() const {
  return {model_.parameters, model_.buffers,     &optimizer_,       &loader_, step_,
          options_.notes,    options_.precision, options_.companion};
}

Trainer::Beside Trainer::beside() const {
  Beside beside;
  for (const Parameter* parameter : optimizer_.parameters()) {
    beside.push_back(parameter->kept());
    beside.push_back(parameter->random());
  }
  return beside;
}

void Trainer::save(const std::filesystem::path& file) const { save_checkpoint(file, state()); }

void Trainer::resume(const std::filesystem::path& file) {
  const Notes saved = notes_of(read_tensors(file));
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
  rates_.clear();
  rates_begin_ = step_;
}

}  // namespace espalier
