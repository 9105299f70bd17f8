// The data options of the command line, and the data set they name: found in the given folder, in $ESPALIER_DATA or in
// the user's cache, and fetched into the cache when it is nowhere.
#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "apps/commands/output.h"
#include "core/data/image_data.h"
#include "core/train/checkpoint.h"

namespace espalier::apps {

struct DataOptions {
  std::string set;  // "mnist" or "fashion-mnist"; empty: mnist, or what the checkpoint was trained on
  std::filesystem::path directory;
  bool min_max = false;
  std::optional<std::int64_t> padding;  // none: 0, or that of the checkpoint
};

void add_data_options(CLI::App& app, DataOptions& options);

inline const Shape kMnistImage{1, 28, 28};  // [C, H, W], of Fashion-MNIST too
Shape image_of(const Notes& notes);         // of the model that the notes belong to

// What a checkpoint notes of its data, and the options completed by those notes.
Notes notes_for(const DataOptions& options, const std::string& model);
DataOptions data_of(const DataOptions& options, const Notes& notes);

// `carving` says how many validation samples to set aside, with which seed and, for a trained model, its normalisation.
data::ImageData load_data(const DataOptions& options, data::Options carving, const Output& output);

}  // namespace espalier::apps
