// espalier shrink: the smaller dense network that computes what a masked one does, as a checkpoint of its own.
#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>

#include "apps/commands/channel_options.h"
#include "apps/commands/commands.h"
#include "apps/commands/data.h"
#include "apps/commands/output.h"
#include "core/train/compressed_file.h"
#include "layers/model_file.h"
#include "pruning/shrink.h"

namespace espalier::apps {
namespace {

struct ShrinkCommand {
  Output output;
  std::filesystem::path checkpoint, small;
  pruning::ShrinkOptions options;

  void run() const;
};

void ShrinkCommand::run() const {
  const Safetensors masked = read_tensors(checkpoint);
  const SavedModel model = load_model(checkpoint);
  const Shape image = image_of(model.notes);
  const pruning::Shrunk shrunk = pruning::shrink(*model.module, {kProbeImages, image[0], image[1], image[2]}, options);
  write_safetensors(small, pruning::shrunk_checkpoint(masked, shrunk));
  const auto bytes_before = std::filesystem::file_size(checkpoint), bytes = std::filesystem::file_size(small);
  say(output, fmt::format("{}\n{}: {} bytes, {} before\n", shrunk, small.string(), bytes, bytes_before));
  nlohmann::json report = nlohmann::json::parse(pruning::to_json(shrunk));
  report["checkpoint"] = small.string();
  report["file_bytes_before"] = bytes_before;
  report["file_bytes"] = bytes;
  print_result(output, report);
}

}  // namespace

Command shrink_command(CLI::App& app) {
  const auto command = std::make_shared<ShrinkCommand>();
  CLI::App* parser = app.add_subcommand("shrink", "Take pruned channels out of a model: a smaller dense network");
  parser->add_option("checkpoint", command->checkpoint, "The pruned model")->required();
  parser->add_option("--output", command->small, "Where the smaller model goes")->required();
  parser->add_option("--granule", command->options.granule, "Round widths up to a multiple of it")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  add_output_options(*parser, command->output);
  return {parser, [command] { command->run(); }};
}

}  // namespace espalier::apps
