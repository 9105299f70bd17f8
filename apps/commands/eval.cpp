// espalier eval: judges a checkpoint on the test images it has never seen.
#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>

#include "apps/commands/commands.h"
#include "apps/commands/data.h"
#include "apps/commands/precision_option.h"
#include "apps/commands/stages.h"
#include "apps/commands/table.h"
#include "layers/model_file.h"

namespace espalier::apps {
namespace {

struct EvalCommand {
  Output output;
  DataOptions data;
  std::optional<Math> math;
  Precision precision = Precision::fp32;
  std::filesystem::path checkpoint;

  void run() const;
};

void EvalCommand::run() const {
  const MathScope math_scope(math.value_or(current_math()));
  const PrecisionScope precision_scope(precision);
  SavedModel model = load_model(checkpoint);
  const data::ImageData images = load_data(data_of(data, model.notes), {.normalisation = model.normalisation}, output);
  const Metrics metrics = judge(*model.module, images.test);
  Table table({"class", "precision", "recall", "F1"});
  for (std::int64_t label = 0; label < metrics.classes; ++label) {
    table.add({std::to_string(label), fmt::format("{:.4f}", metrics.precision(label)),
               fmt::format("{:.4f}", metrics.recall(label)), fmt::format("{:.4f}", metrics.f1(label))});
  }
  say(output,
      fmt::format("{}\n{} of {} test images right: {:.2f} %, loss {:.4f}, macro F1 {:.4f}\n", table.to_string(),
                  metrics.correct(), metrics.samples(), 100 * metrics.accuracy(), metrics.loss, metrics.macro_f1()));
  nlohmann::json report = to_json(metrics);
  report["data"] = images.name;
  report["precision"] = to_string(precision);
  report["device"] = device_json();
  print_result(output, report);
}

}  // namespace

Command eval_command(CLI::App& app) {
  const auto command = std::make_shared<EvalCommand>();
  CLI::App* parser = app.add_subcommand("eval", "Judge a model on the test images");
  parser->add_option("checkpoint", command->checkpoint, "The model")->required();
  add_data_options(*parser, command->data);
  add_math_option(*parser, command->math);
  add_precision_option(*parser, command->precision);
  add_output_options(*parser, command->output);
  return {parser, [command] { command->run(); }};
}

}  // namespace espalier::apps
