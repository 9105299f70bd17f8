// Whole channels as the unit of pruning, as asked for on the command line, and the smaller network that is left.
#pragma once
#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>

#include "apps/commands/output.h"
#include "core/data/image_data.h"
#include "layers/model_file.h"
#include "pruning/pruner.h"

namespace espalier::apps {

struct ChannelRequest {
  double channels = 0, macs = 0;  // the fraction of either that goes; 0: not asked for
  bool wanted() const { return channels > 0 || macs > 0; }
  double fraction() const { return channels > 0 ? channels : macs; }
};

inline constexpr std::int64_t kProbeImages = 8;  // that a masked and its shrunk network are compared on

void add_channel_options(CLI::App& app, ChannelRequest& request);

// Makes whole channels fall, each layer the same fraction of its own.
void use_channels(const ChannelRequest& request, Module& model, const Shape& image, pruning::PrunerOptions& options);

// Writes the shrunk model to `file` and tells what is left of widths, parameters, multiply-adds and accuracy.
nlohmann::json save_shrunk(const std::filesystem::path& file, SavedModel& model, const data::ImageData& images,
                           const Output& output);

}  // namespace espalier::apps
