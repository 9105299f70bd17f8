// espalier bench: how fast a model runs dense and in every sparse format, compiled for several batch sizes.
#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>

#include "apps/commands/bench_report.h"
#include "apps/commands/commands.h"
#include "apps/commands/model_options.h"
#include "apps/commands/output.h"
#include "apps/commands/plan_options.h"
#include "apps/commands/precision_option.h"
#include "apps/commands/speedup_chart.h"
#include "apps/commands/stages.h"
#include "apps/commands/trace_file.h"
#include "core/train/atomic_file.h"
#include "pruning/report.h"

namespace espalier::apps {
namespace {

struct BenchCommand {
  Output output;
  std::optional<Math> math;
  Precision precision = Precision::fp32;
  ModelOptions model;
  PlanOptions plan{.no_cache = true};  // measured now is what it promises
  std::vector<std::int64_t> batches{1, 8, 32, 256, 1024, 4096};
  std::vector<std::string> allowed;
  bool layers = false;
  std::filesystem::path csv, svg, trace;

  void run() const;
  std::vector<Precision> dense_precisions() const;
};

// What the dense baseline may use besides fp32: all that there is, or what was asked for of it.
std::vector<Precision> BenchCommand::dense_precisions() const {
  std::vector<Precision> found = pruning::reduced_precisions(compile_options(plan).gpu);
  if (allowed.empty()) return found;
  std::erase_if(
      found, [&](Precision one) { return std::find(allowed.begin(), allowed.end(), to_string(one)) == allowed.end(); });
  return found;
}

std::string title_of(const ChosenModel& chosen, const pruning::Report& report) {
  return fmt::format("{}, {:.1f} % of the weights removed", chosen.name, 100 * report.sparsity());
}

void BenchCommand::run() const {
  for (const std::filesystem::path& file : {csv, svg}) require_writable(file);
  const MathScope math_scope(math.value_or(current_math()));
  const PrecisionScope precision_scope(precision);
  const ChosenModel chosen = open_model(model);
  const Shape& image = chosen.image;
  const pruning::Report report = pruning::report(*chosen.module, Shape{1, image[0], image[1], image[2]});
  const pruning::ComparisonOptions options{.compile = compile_options_of_all(plan, *chosen.module),
                                           .dense_precisions = dense_precisions()};
  Comparisons comparisons;
  for (const std::int64_t batch : batches) {
    comparisons.push_back(pruning::compare_formats(*chosen.module, {batch, image[0], image[1], image[2]}, options));
  }
  const std::string timing = comparisons.front().timing;
  say(output, fmt::format("{}\n\n{}\n{}\n{}times: {}\n", report, choice_table(comparisons),
                          layers ? layer_table(comparisons) + "\n" : "", network_table(comparisons), timing));
  if (!csv.empty()) write_file_atomically(csv, to_csv(chosen.name, comparisons));
  if (!svg.empty()) write_file_atomically(svg, speedup_chart(title_of(chosen, report), comparisons));
  print_result(output, {{"model", chosen.name},
                        {"bench", to_json(comparisons)},
                        {"layers", nlohmann::json::parse(report.to_json())},
                        {"sparsity", report.sparsity()},
                        {"parameters_kept", report.kept_parameters},
                        {"precision", to_string(precision)},
                        {"timing", timing},
                        {"device", device_json()}});
}

}  // namespace

Command bench_command(CLI::App& app) {
  const auto command = std::make_shared<BenchCommand>();
  CLI::App* parser = app.add_subcommand("bench", "Time a model dense and in every sparse format");
  add_model_options(*parser, command->model);
  parser->add_option("--batch,--batches", command->batches, "Batch sizes")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  parser->add_option("--allow", command->allowed, "Precisions for the dense baseline besides fp32 (default: all)")
      ->check(CLI::IsMember({"fp32", "tf32", "bf16", "fp16"}));
  parser->add_flag("--layers", command->layers, "Print each layer in each format, too");
  parser->add_option("--csv", command->csv, "Write every figure to this file");
  parser->add_option("--svg", command->svg, "Draw the speed-up over the batch size into this file");
  add_gpu_option(*parser, command->plan);
  add_math_option(*parser, command->math);
  add_trace_option(*parser, command->trace);
  add_precision_option(*parser, command->precision);
  add_output_options(*parser, command->output);
  return {parser, [command] { with_trace(command->trace, "bench", [&] { command->run(); }); }};
}

}  // namespace espalier::apps
