#include "layers/model_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "core/train/compressed_file.h"
#include "kernels/require.h"
#include "layers/architecture.h"

namespace espalier {
namespace {

using nlohmann::json;
constexpr const char* kNormalisation = "normalisation";

const std::string& note(const Notes& notes, const char* key) {
  const auto found = notes.find(key);
  if (found == notes.end()) throw CheckpointError(fmt::format("does not tell its {}", key));
  return found->second;
}

data::Normalisation normalisation_from(const std::string& text) {
  try {
    const json entry = json::parse(text);
    return {entry.at("mean").get<float>(), entry.at("deviation").get<float>()};
  } catch (const json::exception& error) {
    throw CheckpointError(fmt::format("its normalisation cannot be used: {}", error.what()));
  }
}

void require_finite(const Parameter& parameter) {
  const std::vector<float> values = parameter.value.value().to_host();
  const auto stray = std::find_if(values.begin(), values.end(), [](float value) { return !std::isfinite(value); });
  if (stray == values.end()) return;
  throw CheckpointError(
      fmt::format("{} holds {} at element {}; the training that wrote it diverged (try a smaller "
                  "--learning-rate), or the file is damaged",
                  parameter.name, *stray, stray - values.begin()));
}

SavedModel rebuild(const Safetensors& content) {
  SavedModel saved;
  saved.notes = notes_of(content);
  saved.normalisation = normalisation_from(note(saved.notes, kNormalisation));
  try {
    saved.module = build(description_from_json(note(saved.notes, kArchitectureNote)));
  } catch (const InvalidArgument& error) {
    throw CheckpointError(fmt::format("its architecture cannot be built: {}", error.what()));
  }
  TrainingState state{.parameters = saved.module->parameters(), .buffers = saved.module->buffers()};
  restore(content, state);
  for (const Parameter* parameter : state.parameters) require_finite(*parameter);
  saved.step = state.step;
  return saved;
}

}  // namespace

Notes model_notes(const Module& model, const data::Normalisation& normalisation, Notes more) {
  more[kArchitectureNote] = to_json(model.describe());
  more[kNormalisation] = json{{"mean", normalisation.mean}, {"deviation", normalisation.deviation}}.dump();
  return more;
}

void save_model(const std::filesystem::path& file, Module& model, const data::Normalisation& normalisation,
                const Notes& more) {
  save_checkpoint(
      file,
      {.parameters = model.parameters(), .buffers = model.buffers(), .notes = model_notes(model, normalisation, more)});
}

SavedModel load_model(const std::filesystem::path& file) {
  const Safetensors content = read_tensors(file);
  try {
    return rebuild(content);
  } catch (const CheckpointError& error) {
    throw CheckpointError(fmt::format("{}: {}", file.string(), error.what()));
  }
}

}  // namespace espalier
