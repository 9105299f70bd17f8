// A whole model as one file: architecture, weights, masks, buffers, the normalisation of its inputs and any notes.
// Checkpoints of a Trainer whose notes come from model_notes() are such files too.
#pragma once
#include <filesystem>
#include <memory>
#include <optional>

#include "core/data/image_data.h"
#include "core/train/checkpoint.h"
#include "layers/module.h"

namespace espalier {

struct SavedModel {
  std::unique_ptr<Module> module;
  data::Normalisation normalisation;
  std::int64_t step = 0;  // updates it was trained with
  Notes notes;
};

// Notes that say how to rebuild and feed the model; `more` is kept beside.
Notes model_notes(const Module& model, const data::Normalisation& normalisation, Notes more = {});

void save_model(const std::filesystem::path& file, Module& model, const data::Normalisation& normalisation,
                const Notes& more = {});
SavedModel load_model(const std::filesystem::path& file);  // a compressed one too; throws CheckpointError

}  // namespace espalier
