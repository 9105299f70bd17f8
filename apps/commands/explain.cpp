// espalier explain: for each layer every way of computing it, what it takes, what it reads, and why it was not chosen.
#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>

#include "apps/commands/commands.h"
#include "apps/commands/model_options.h"
#include "apps/commands/output.h"
#include "apps/commands/plan_options.h"
#include "apps/commands/precision_option.h"
#include "apps/commands/stages.h"
#include "apps/commands/table.h"

namespace espalier::apps {
namespace {

struct ExplainCommand {
  Output output;
  std::optional<Math> math;
  Precision precision = Precision::fp32;
  ModelOptions model;
  PlanOptions plan;
  std::int64_t batch = 32;

  void run() const;
};

std::string heading(const pruning::PlanStep& step) {
  const std::string name = step.layer + (step.takes_in.empty() ? "" : " with " + step.takes_in);
  if (step.candidates.empty()) return fmt::format("{}: {:.1f} µs, no product: nothing to choose\n", name, step.us);
  const std::string what = step.whole_network
                               ? "the whole network"
                               : fmt::format("{}: weight [{}, {}]", name, step.size.rows, step.size.columns);
  return fmt::format("{}, {:.1f} % zeros, {} of {} MACs left\n-> {}, {}: {}\n", what, 100 * step.sparsity,
                     step.macs_kept, step.macs, step.format, step.implementation, step.reason);
}

std::string candidates_of(const pruning::PlanStep& step) {
  Table table({"format", "by", "µs", "launches", "bytes", "of them weight", "why not"}, {1, 6});
  for (std::size_t i = 0; i < step.candidates.size(); ++i) {
    const pruning::MeasuredImplementation& one = step.candidates[i];
    const std::string why = i == step.chosen ? "(chosen)" : one.note;
    if (one.us) {
      table.add({one.format, one.library, fmt::format("{:.1f}", *one.us), std::to_string(one.launches),
                 std::to_string(one.bytes), std::to_string(one.weight_bytes), why});
    } else {
      table.add({one.format, one.library, "-", "-", "-", "-", "not eligible: " + why});
    }
  }
  return table.to_string();
}

std::string whole(const pruning::Plan& plan) {
  std::string text =
      fmt::format("all steps, each by itself: {:.1f} µs; graph nodes: {}", plan.steps_us(), plan.node_count());
  if (const auto& race = plan.race()) {
    text +=
        fmt::format("\nthe network as one graph: {:.1f} µs as chosen, {:.1f} µs all dense; {}",
                    race->us, race->dense_us,
                    race->dense_won ? "the dense plan is taken" : fmt::format("{:.2f}x", race->dense_us / race->us));
  }
  return text + fmt::format("\ntimes: {}\n", plan.timing());
}

void ExplainCommand::run() const {
  const MathScope math_scope(math.value_or(current_math()));
  const PrecisionScope precision_scope(precision);
  const ChosenModel chosen = open_model(model);
  const Shape input{batch, chosen.image[0], chosen.image[1], chosen.image[2]};
  const pruning::Plan compiled = pruning::compile(*chosen.module, input, compile_options_of_all(plan, *chosen.module));
  std::optional<pruning::Plan> layers;  // where all is one launch: what each layer would have taken
  if (compiled.steps().front().whole_network) {
    layers = pruning::compile(*chosen.module, input, compile_options_of_layers(plan, *chosen.module));
  }
  std::vector<pruning::PlanStep> steps = (layers ? *layers : compiled).steps();
  if (layers) steps.push_back(compiled.steps().front());
  std::string text = fmt::format("{} at batch {}, {}\n\n", chosen.name, batch, to_string(precision));
  for (const pruning::PlanStep& step : steps) {
    text += heading(step) + (step.candidates.empty() ? "" : candidates_of(step)) + "\n";
  }
  say(output, text + whole(compiled));
  nlohmann::json network{{"steps_us", compiled.steps_us()}, {"launches", compiled.node_count()}};
  if (layers) network.update({{"one_launch", nlohmann::json::parse(compiled.to_json())[0]}});
  if (const auto& race = compiled.race()) {
    network.update({{"us", race->us}, {"dense_us", race->dense_us}, {"dense_won", race->dense_won}});
  }
  print_result(output, {{"model", chosen.name},
                        {"batch", batch},
                        {"precision", to_string(precision)},
                        {"timing", compiled.timing()},
                        {"layers", nlohmann::json::parse((layers ? *layers : compiled).to_json())},
                        {"network", network},
                        {"device", device_json()}});
}

}  // namespace

Command explain_command(CLI::App& app) {
  const auto command = std::make_shared<ExplainCommand>();
  CLI::App* parser = app.add_subcommand("explain", "Show why each layer of a model is computed the way it is");
  add_model_options(*parser, command->model);
  parser->add_option("--batch", command->batch, "Images at a time")->check(CLI::PositiveNumber)->capture_default_str();
  add_plan_options(*parser, command->plan);
  add_math_option(*parser, command->math);
  add_precision_option(*parser, command->precision);
  add_output_options(*parser, command->output);
  return {parser, [command] { command->run(); }};
}

}  // namespace espalier::apps
