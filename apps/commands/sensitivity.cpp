// espalier sensitivity: how a model's accuracy falls as one layer at a time is pruned.
#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>

#include "apps/commands/channel_options.h"
#include "apps/commands/commands.h"
#include "apps/commands/data.h"
#include "apps/commands/pattern_words.h"
#include "apps/commands/scoring_setup.h"
#include "apps/commands/sensitivity_chart.h"
#include "apps/commands/stages.h"
#include "core/train/atomic_file.h"
#include "kernels/require.h"
#include "layers/evaluate.h"
#include "layers/model_file.h"
#include "pruning/sensitivity.h"

namespace espalier::apps {
namespace {

struct SensitivityCommand {
  Output output;
  DataOptions data;
  std::optional<Math> math;
  std::filesystem::path checkpoint, svg;
  PruningOptions pruning;
  std::vector<double> grid = pruning::SensitivityOptions().grid;
  std::int64_t validation = 5000;
  std::uint64_t seed = 1;

  void run() const;
};

void SensitivityCommand::run() const {
  require_writable(svg);
  const MathScope math_scope(math.value_or(current_math()));
  SavedModel model = load_model(checkpoint);
  const data::ImageData images =
      load_data(data_of(data, model.notes),
                {.validation = validation, .seed = seed, .normalisation = model.normalisation}, output);
  ScoringSetup scoring(*model.module, images, pruning, seed);
  if (scoring.calibration()) scoring.calibration()->run();
  const pruning::Judge judge = [&](Module& module) { return evaluate(module, images.validation); };
  pruning::SensitivityOptions options{.criterion = scoring.criterion(), .grid = grid, .ignore = pruning.ignore};
  const Shape image = images.train.samples().dataset().image_shape();
  const bool channels = prunes_channels(pruning);
  if (!channels) options.pattern = pattern_of(pruning.pattern);
  const pruning::Sensitivity found =
      channels ? pruning::channel_sensitivity(*model.module, {1, image[0], image[1], image[2]}, judge, options)
               : pruning::sensitivity(*model.module, judge, options);
  say(output, pruning::to_string(found) + "\n");
  if (!svg.empty()) write_file_atomically(svg, sensitivity_chart(checkpoint.stem().string(), found));
  nlohmann::json report = nlohmann::json::parse(found.to_json());
  report["criterion"] = pruning.criterion, report["pattern"] = pruning.pattern;
  report["device"] = device_json();
  print_result(output, report);
}

}  // namespace

Command sensitivity_command(CLI::App& app) {
  const auto command = std::make_shared<SensitivityCommand>();
  CLI::App* parser = app.add_subcommand("sensitivity", "Show how accuracy falls as one layer at a time is pruned");
  parser->add_option("checkpoint", command->checkpoint, "The model")->required();
  std::vector<std::string> weighing = criteria();
  std::erase(weighing, "movement");  // nothing moves here
  std::erase(weighing, kAblation);
  parser->add_option("--criterion", command->pruning.criterion, "What makes a weight matter")
      ->check(CLI::IsMember(weighing))
      ->capture_default_str();
  parser->add_option("--pattern", command->pruning.pattern, "What falls together")
      ->check(
          CLI::Validator([](std::string& word) { return word == kCoupledChannel ? "" : fault_of_rated_pattern(word); },
                         "{unstructured,vector-V,block-B,block-RxC,block-RxC-channels,filter,neuron,channel,"
                         "coupled-channel}"))
      ->capture_default_str();
  parser->add_option("--at", command->grid, "Sparsities, ascending")->check(CLI::Range(0.0, 0.9999));
  parser->add_option("--ignore", command->pruning.ignore, "Weights, or groups of channels, that stay as they are");
  parser
      ->add_option("--validation", command->validation, "Training images that judge; who trained on them is flattered")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  parser->add_option("--seed", command->seed, "Which images")->capture_default_str();
  parser->add_option("--svg", command->svg, "Draw the curves into this file");
  add_data_options(*parser, command->data);
  add_math_option(*parser, command->math);
  add_output_options(*parser, command->output);
  return {parser, [command] { command->run(); }};
}

}  // namespace espalier::apps
