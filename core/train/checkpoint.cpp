#include "core/train/checkpoint.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <set>

#include "core/train/compressed_file.h"
#include "kernels/require.h"

namespace espalier {
namespace {

using nlohmann::json;
constexpr const char* kCompanion = "companion/";
constexpr const char* kCompanionRecord = "espalier.companion";
constexpr const char* kTraining = "espalier.training";
constexpr const char* kNote = "note.";

json loader_settings(const DataLoader& loader) {
  const LoaderOptions& options = loader.options();
  json settings{{"samples", loader.samples()},
                {"batch", options.batch},
                {"shuffle", options.shuffle},
                {"seed", options.seed},
                {"drop_last", options.drop_last}};
  if (const Augmentation& of = options.augmentation; of.any()) {
    settings["augmentation"] = {{"shift", of.shift},
                                {"rotation_turns", of.rotation_turns},
                                {"scale", of.scale},
                                {"shear", of.shear},
                                {"erased", of.erased}};
  }
  return settings;
}

json to_json(const LossScaleStatus& status) {
  return {{"scale", status.scale}, {"good_steps", status.good_steps}, {"skipped_steps", status.skipped_steps}};
}

LossScaleStatus loss_scale_from(const json& entry) {
  return {entry.at("scale").get<float>(), entry.at("good_steps").get<std::int32_t>(),
          entry.at("skipped_steps").get<std::int64_t>()};
}

json training_of(const TrainingState& state) {
  json training = {{"step", state.step}, {"precision", to_string(state.precision)}};
  if (state.optimizer) {
    training["optimizer"] = {{"kind", state.optimizer->kind()},
                             {"learning_rate", state.optimizer->learning_rate()},
                             {"steps", state.optimizer->steps()}};
    if (const LossScaler* scaler = state.optimizer->loss_scaler()) {
      training["optimizer"]["loss_scale"] = to_json(scaler->status());
    }
  }
  if (state.loader) {
    const LoaderPosition position = state.loader->position();
    training["loader"] = loader_settings(*state.loader);
    training["position"] = {{"epoch", position.epoch}, {"batch", position.position}};
  }
  return training;
}

// Checks a whole file against a state, then puts it in.
class Restorer {
 public:
  Restorer(const Safetensors& content, TrainingState& state) : content_(content), state_(state) {}

  void check() {
    for (const Parameter* parameter : state_.parameters) {
      check_tensor(parameter->name, parameter->value.shape(), DType::f32);
      if (content_.tensors.contains(kMaskPrefix + parameter->name)) {
        check_tensor(kMaskPrefix + parameter->name, parameter->value.shape(), DType::u8);
      }
    }
    for (const Buffer* buffer : state_.buffers)
      check_tensor(buffer->name, buffer->value.shape(), buffer->value.dtype());
    check_strangers();
    read_training();
    if (state_.optimizer) check_optimizer();
    if (state_.loader) check_loader();
    if (state_.optimizer || state_.companion) check_companion();
  }

  void apply() {
    for (Parameter* parameter : state_.parameters) {
      content_.tensors.at(parameter->name).upload_to(parameter->value.value());
      const auto mask = content_.tensors.find(kMaskPrefix + parameter->name);
      if (mask == content_.tensors.end()) {
        parameter->clear_mask();
      } else {
        parameter->set_mask({Tensor::from_bytes(mask->second.shape, DType::u8, mask->second.bytes)});
      }
    }
    for (Buffer* buffer : state_.buffers) content_.tensors.at(buffer->name).upload_to(buffer->value);
    if (state_.optimizer) {
      for (Buffer* buffer : state_.optimizer->state()) {
        content_.tensors.at(kOptimizerPrefix + buffer->name).upload_to(buffer->value);
      }
      state_.optimizer->set_learning_rate(learning_rate_);
      state_.optimizer->set_steps(optimizer_steps_);
      if (loss_scale_) state_.optimizer->set_loss_scale(*loss_scale_);
    }
    if (state_.loader) state_.loader->seek(position_);
    if (state_.companion) restore_companion();
    state_.step = step_;
    state_.notes = notes_of(content_);
  }

 private:
  void check_tensor(const std::string& name, const Shape& shape, DType type) const {
    const auto found = content_.tensors.find(name);
    if (found == content_.tensors.end()) {
      throw CheckpointError(fmt::format("has no tensor {}; is it of another architecture or optimizer?", name));
    }
    if (found->second.shape == shape && found->second.type == type) return;
    throw CheckpointError(fmt::format("{} is {} {} here, the model has {} {}", name, found->second.shape.to_string(),
                                      to_string(found->second.type), shape.to_string(), to_string(type)));
  }

  void check_strangers() const {  // a weight that the model lacks means that it is another model
    std::set<std::string> known;
    for (const Parameter* parameter : state_.parameters) known.insert(parameter->name);
    for (const Buffer* buffer : state_.buffers) known.insert(buffer->name);
    for (const auto& [name, tensor] : content_.tensors) {
      const bool stranger =
          name.starts_with(kMaskPrefix)
              ? !known.contains(name.substr(std::string_view(kMaskPrefix).size()))
              : !name.starts_with(kOptimizerPrefix) && !name.starts_with(kCompanion) && !known.contains(name);
      if (stranger) throw CheckpointError(fmt::format("has a tensor {} that this model does not", name));
    }
  }

  void read_training() {
    const auto no_run = [] { return CheckpointError("holds a model, but no run that could be resumed"); };
    const auto text = content_.metadata.find(kTraining);
    if (text == content_.metadata.end()) {
      if (state_.optimizer || state_.loader) throw no_run();
      return;
    }
    try {
      const json training = json::parse(text->second);
      training.at("step").get_to(step_);
      if ((state_.optimizer && !training.contains("optimizer")) || (state_.loader && !training.contains("loader"))) {
        throw no_run();
      }
      if (state_.optimizer) {
        training.at("optimizer").at("kind").get_to(optimizer_kind_);
        training.at("optimizer").at("learning_rate").get_to(learning_rate_);
        training.at("optimizer").at("steps").get_to(optimizer_steps_);
        precision_ = training.value("precision", precision_);
        if (training.at("optimizer").contains("loss_scale")) {
          loss_scale_ = loss_scale_from(training.at("optimizer").at("loss_scale"));
        }
      }
      if (state_.loader) {
        loader_ = training.at("loader");
        training.at("position").at("epoch").get_to(position_.epoch);
        training.at("position").at("batch").get_to(position_.position);
      }
    } catch (const json::exception& error) {
      throw CheckpointError(fmt::format("its record of the run cannot be used: {}", error.what()));
    }
  }

  void check_optimizer() const {
    if (optimizer_kind_ != state_.optimizer->kind()) {
      throw CheckpointError(
          fmt::format("was trained with {}, the run to resume uses {}", optimizer_kind_, state_.optimizer->kind()));
    }
    const std::string_view precision = to_string(state_.precision);
    if (precision_ != precision) {
      throw CheckpointError(fmt::format("was trained in {0}, the run to resume in {1}; ask for {0} to go on with it",
                                        precision_, precision));
    }
    if (loss_scale_.has_value() != (state_.optimizer->loss_scaler() != nullptr)) {
      throw CheckpointError(fmt::format("was trained {} a scaled loss, the run to resume {}",
                                        loss_scale_ ? "with" : "without", loss_scale_ ? "has none" : "scales its own"));
    }
    if (loss_scale_ && !loss_scale_->valid()) throw CheckpointError("its loss scale cannot be used");
    for (const Buffer* buffer : state_.optimizer->state()) {
      check_tensor(kOptimizerPrefix + buffer->name, buffer->value.shape(), buffer->value.dtype());
    }
  }

  void check_companion() const {
    const auto record = content_.metadata.find(kCompanionRecord);
    const bool had_one = record != content_.metadata.end();
    if (had_one != (state_.companion != nullptr)) {
      throw CheckpointError(had_one ? "is of a run that something rode along with, a pruner say; the run to resume has "
                                      "nothing of the kind"
                                    : "holds nothing for what rides along with the run to resume, a pruner say");
    }
    if (!had_one) return;
    try {
      state_.companion->check(record->second);
    } catch (const InvalidArgument& error) {
      throw CheckpointError(error.what());
    }
    for (const Buffer* buffer : state_.companion->state()) {
      check_tensor(kCompanion + buffer->name, buffer->value.shape(), buffer->value.dtype());
    }
  }

  void restore_companion() {
    for (Buffer* buffer : state_.companion->state()) {
      content_.tensors.at(kCompanion + buffer->name).upload_to(buffer->value);
    }
    state_.companion->restore(content_.metadata.at(kCompanionRecord));
  }

  void check_loader() const {
    const json mine = loader_settings(*state_.loader);
    const bool inside =
        position_.epoch >= 0 && position_.position >= 0 && position_.position < state_.loader->batches();
    if (mine == loader_ && inside) return;
    throw CheckpointError(fmt::format("stopped at epoch {}, batch {} of a loader with {}, the run to resume has {}",
                                      position_.epoch, position_.position, loader_.dump(), mine.dump()));
  }

  const Safetensors& content_;
  TrainingState& state_;
  std::int64_t step_ = 0, optimizer_steps_ = 0;
  std::string optimizer_kind_, precision_ = std::string(to_string(Precision::fp32));
  std::optional<LossScaleStatus> loss_scale_;
  float learning_rate_ = 0;
  json loader_;
  LoaderPosition position_;
};

}  // namespace

Safetensors content_of(const TrainingState& state) {
  Safetensors content;
  const auto put = [&](const std::string& name, const Tensor& tensor) {
    require(content.tensors.emplace(name, StoredTensor::of(tensor)).second, "checkpoint: two tensors are called ", name,
            "; give the modules of the model different names");
  };
  for (const Parameter* parameter : state.parameters) {
    put(parameter->name, parameter->value.value());
    if (parameter->mask()) put(kMaskPrefix + parameter->name, parameter->mask()->keep);
  }
  for (const Buffer* buffer : state.buffers) put(buffer->name, buffer->value);
  if (state.optimizer) {
    for (const Buffer* buffer : state.optimizer->state()) put(kOptimizerPrefix + buffer->name, buffer->value);
  }
  if (state.companion) {
    for (const Buffer* buffer : state.companion->state()) put(kCompanion + buffer->name, buffer->value);
    content.metadata[kCompanionRecord] = state.companion->record();
  }
  for (const auto& [key, text] : state.notes) content.metadata[note_key(key)] = text;
  content.metadata[kTraining] = training_of(state).dump();
  return content;
}

void save_checkpoint(const std::filesystem::path& file, const TrainingState& state) {
  write_safetensors(file, content_of(state));
}

void restore(const Safetensors& content, TrainingState& state) {
  Restorer restorer(content, state);
  restorer.check();
  restorer.apply();
}

void load_checkpoint(const std::filesystem::path& file, TrainingState& state) {
  const Safetensors content = read_tensors(file);
  try {
    restore(content, state);
  } catch (const CheckpointError& error) {
    throw CheckpointError(fmt::format("{}: {}", file.string(), error.what()));
  }
}

std::string note_key(const std::string& note) { return kNote + note; }

Notes notes_of(const Safetensors& content) {
  const std::string prefix = kNote;
  Notes notes;
  for (const auto& [key, text] : content.metadata) {
    if (key.starts_with(prefix)) notes.emplace(key.substr(prefix.size()), text);
  }
  return notes;
}

std::string companion_record(const Safetensors& content) {
  const auto found = content.metadata.find(kCompanionRecord);
  return found == content.metadata.end() ? std::string() : found->second;
}

}  // namespace espalier
