// espalier bench: how fast a model runs dense and pruned, compiled for several batch sizes. Takes a checkpoint, or an
// untrained model of the zoo pruned by magnitude: times depend on where the zeros are, not on what the model knows.
#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>

#include "apps/commands/commands.h"
#include "apps/commands/data.h"
#include "apps/commands/measure.h"
#include "apps/commands/output.h"
#include "apps/commands/stages.h"
#include "apps/commands/trace_file.h"
#include "layers/model_file.h"
#include "layers/zoo.h"

namespace espalier::apps {
namespace {

struct BenchCommand {
  Output output;
  std::optional<Math> math;
  Precision precision = Precision::fp32;
  std::string model = "seed-cnn";
  double sparsity = 0.9;
  std::vector<std::int64_t> batches{1, 32, 256, 1024};
  std::filesystem::path checkpoint;
  std::filesystem::path trace;

  void run() const;
};

void BenchCommand::run() const {
  const MathScope math_scope(math.value_or(current_math()));
  const PrecisionScope precision_scope(precision);
  SavedModel saved;
  Shape image = kMnistImage;
  if (checkpoint.empty()) {
    saved.module = std::make_unique<Sequential>(zoo::build(model, image));
    pruning::Pruner(*saved.module, {.scope = pruning::Scope::local}).prune_to(sparsity);
  } else {
    saved = load_model(checkpoint);
    image = image_of(saved.notes);
  }
  const pruning::Report layers = pruning::report(*saved.module, Shape{1, image[0], image[1], image[2]});
  const Measurement measured = measure(*saved.module, image, batches);
  say(output, fmt::format("{}\n\n{}\n{}\ntimes: {}\n", layers, measured.choices, measured.times, timing_name()));
  print_result(output, {{"bench", measured.bench},
                        {"plan", measured.plan},
                        {"sparsity", layers.sparsity()},
                        {"parameters_kept", layers.kept_parameters},
                        {"precision", to_string(precision)},
                        {"device", device_json()}});
}

}  // namespace

Command bench_command(CLI::App& app) {
  const auto command = std::make_shared<BenchCommand>();
  CLI::App* parser = app.add_subcommand("bench", "Time a model dense against pruned");
  parser->add_option("checkpoint", command->checkpoint, "A pruned model (default: one of the zoo, pruned untrained)");
  parser->add_option("--model", command->model, "Which of the zoo")
      ->check(CLI::IsMember(std::vector<std::string>(zoo::names().begin(), zoo::names().end())))
      ->capture_default_str();
  parser->add_option("--sparsity", command->sparsity, "Of each of its layers")
      ->check(CLI::Range(0.0, 0.9999))
      ->capture_default_str();
  parser->add_option("--batches", command->batches, "Batch sizes")->capture_default_str();
  add_math_option(*parser, command->math);
  add_trace_option(*parser, command->trace);
  add_precision_option(*parser, command->precision);
  add_output_options(*parser, command->output);
  return {parser, [command] { with_trace(command->trace, "bench", [&] { command->run(); }); }};
}

}  // namespace espalier::apps
