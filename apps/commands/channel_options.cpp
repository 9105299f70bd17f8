#include "apps/commands/channel_options.h"

#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "apps/commands/stages.h"
#include "pruning/channel_pruning.h"
#include "pruning/shrink.h"

namespace espalier::apps {

void add_channel_options(CLI::App& app, ChannelRequest& request) {
  auto* const channels = app.add_option("--channels", request.channels,
                                        "Instead of single weights, remove this fraction of each layer's channels")
                             ->check(CLI::Range(0.0, 0.9999));
  app.add_option("--macs", request.macs, "... or as many channels as do this fraction of the multiply-adds")
      ->check(CLI::Range(0.0, 0.9999))
      ->excludes(channels);
}

void use_channels(const ChannelRequest& request, Module& model, const Shape& image, pruning::PrunerOptions& options) {
  const auto target = request.channels > 0 ? pruning::ChannelTarget::channels : pruning::ChannelTarget::macs;
  options.pattern = pruning::channel_pattern(model, {1, image[0], image[1], image[2]}, {.target = target});
  options.scope = pruning::Scope::global;  // shows the pattern all weights at once
}

nlohmann::json save_shrunk(const std::filesystem::path& file, SavedModel& model, const data::ImageData& images,
                           const Output& output) {
  const Shape image = images.test.samples().dataset().image_shape();
  const pruning::Shrunk shrunk = pruning::shrink(*model.module, {kProbeImages, image[0], image[1], image[2]});
  save_model(file, *shrunk.model, model.normalisation, model.notes);
  const Metrics metrics = judge(*shrunk.model, images.test);
  say(output, fmt::format("{}\nshrunk: test accuracy {:.2f} %\n{}\n", shrunk, 100 * metrics.accuracy(), file.string()));
  nlohmann::json report = nlohmann::json::parse(pruning::to_json(shrunk));
  report["test_accuracy"] = metrics.accuracy();
  report["checkpoint"] = file.string();
  return report;
}

}  // namespace espalier::apps
