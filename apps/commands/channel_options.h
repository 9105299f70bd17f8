// Whole channels as the unit of pruning, --pattern coupled-channel or a target of --channels, and the smaller network
// that is left.
#pragma once
#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "apps/commands/output.h"
#include "apps/commands/pruning_options.h"
#include "core/data/image_data.h"
#include "layers/model_file.h"
#include "pruning/pruner.h"

namespace espalier::apps {

inline constexpr std::int64_t kProbeImages = 8;  // that a masked and its shrunk network are compared on

bool prunes_channels(const PruningOptions& options);

// Makes whole channels fall; returns the fraction that the pruner is to reach. `input`: the shape of one image's batch.
double use_channels(const PruningOptions& options, Module& model, const Shape& input, pruning::PrunerOptions& made);

// Weights, params, MACs and bytes that shrinking would leave, in one line.
std::string shrunk_figures(Module& model, const Shape& input);

struct ModelFile {
  std::filesystem::path path;
  const data::Normalisation& normalisation;
  const Notes& notes;
};
// Writes the shrunk model and tells what is left of widths, parameters, multiply-adds and accuracy.
nlohmann::json save_shrunk(const ModelFile& file, Module& model, const data::ImageData& images, const Output& output);

}  // namespace espalier::apps
