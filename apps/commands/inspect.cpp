// espalier inspect: what is in a checkpoint or an exported file: layers, weights left, bytes, time to send it, and how
// it was made.
#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>

#include "apps/commands/commands.h"
#include "apps/commands/data.h"
#include "apps/commands/output.h"
#include "apps/commands/stored_size.h"
#include "layers/architecture.h"
#include "layers/model_file.h"
#include "pruning/channel_groups.h"
#include "pruning/report.h"

namespace espalier::apps {
namespace {

struct InspectCommand {
  Output output;
  std::filesystem::path checkpoint;
  bool channels = false;

  void run() const;
  void list_channels(Module& model, const Notes& notes) const;
};

void InspectCommand::list_channels(Module& model, const Notes& notes) const {
  const Shape image = image_of(notes);
  const auto groups = pruning::channel_groups(model, {1, image[0], image[1], image[2]});
  say(output, pruning::to_string(groups));
  print_result(output, nlohmann::json::parse(pruning::to_json(groups)));
}

void InspectCommand::run() const {
  const SavedModel model = load_model(checkpoint);
  if (channels) return list_channels(*model.module, model.notes);
  const pruning::Report layers = pruning::report(*model.module);
  const StoredSize size(checkpoint);
  say(output,
      fmt::format(
          "{}\n\n{}\n{} of {} parameters live; {} bytes dense, the file has {}\ntrained for {} steps; inputs are "
          "(byte / 255 - {}) / {}\n",
          layers, size.to_string(), layers.kept_parameters, layers.parameters, size.dense_bytes, size.file_bytes,
          model.step, model.normalisation.mean, model.normalisation.deviation));
  print_result(output, {{"architecture", nlohmann::json::parse(espalier::to_json(model.module->describe()))},
                        {"layers", nlohmann::json::parse(layers.to_json())},
                        {"parameters", layers.parameters},
                        {"parameters_kept", layers.kept_parameters},
                        {"sparsity", layers.sparsity()},
                        {"dense_bytes", layers.dense_bytes()},
                        {"sparse_bytes", layers.sparse_bytes()},
                        {"file_bytes", size.file_bytes},
                        {"stored", size.to_json()},
                        {"steps", model.step},
                        {"mean", model.normalisation.mean},
                        {"deviation", model.normalisation.deviation},
                        {"notes", model.notes}});
}

}  // namespace

Command inspect_command(CLI::App& app) {
  const auto command = std::make_shared<InspectCommand>();
  CLI::App* parser = app.add_subcommand("inspect", "Show what is in a checkpoint");
  parser->add_option("checkpoint", command->checkpoint, "The model")->required();
  parser->add_flag("--channels", command->channels, "List which channels fall together, in which layers");
  add_output_options(*parser, command->output);
  return {parser, [command] { command->run(); }};
}

}  // namespace espalier::apps
