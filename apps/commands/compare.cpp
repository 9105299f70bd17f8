// espalier compare: several recipes over several seeds, side by side: accuracy with its interval, what is left, and
// what scoring has cost.
#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>

#include "apps/commands/commands.h"
#include "apps/commands/recipe_run.h"
#include "apps/commands/recipe_variants.h"
#include "apps/commands/run_folder.h"
#include "apps/commands/table.h"
#include "core/train/atomic_file.h"

namespace espalier::apps {
namespace {

struct CompareCommand {
  Output output;
  DataOptions data;
  RecipeVariants variants;
  std::int64_t seeds = 5;
  std::filesystem::path run_dir;

  void run() const;
};

struct Interval {
  double mean = 0, half = 0;  // of the 95 % interval of the mean
};

// Student's t for 95 %, two-sided, by degrees of freedom.
double student_t(std::size_t freedom) {
  constexpr double values[] = {0,     12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
                               2.201, 2.179,  2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086};
  return freedom < std::size(values) ? values[freedom] : 1.96 + 2.5 / double(freedom);
}

Interval interval_of(const std::vector<double>& values) {
  Interval result;
  for (const double value : values) result.mean += value / double(values.size());
  if (values.size() < 2) return result;
  double squares = 0;
  for (const double value : values) squares += (value - result.mean) * (value - result.mean);
  const double deviation = std::sqrt(squares / double(values.size() - 1));
  result.half = student_t(values.size() - 1) * deviation / std::sqrt(double(values.size()));
  return result;
}

nlohmann::json summary_of(const Recipe& recipe, const std::vector<RecipeResult>& runs) {
  std::vector<double> dense, pruned;
  nlohmann::json all = nlohmann::json::array();
  for (const RecipeResult& run : runs) {
    dense.push_back(run.dense.accuracy());
    pruned.push_back(run.pruned.accuracy());
    all.push_back(to_json(run));
  }
  const Interval before = interval_of(dense), after = interval_of(pruned);
  const pruning::Report& layers = runs.back().layers;
  nlohmann::json summary{{"recipe", recipe.name},
                         {"summary", recipe.summary},
                         {"seeds", runs.size()},
                         {"dense_accuracy", before.mean},
                         {"dense_interval", before.half},
                         {"test_accuracy", after.mean},
                         {"interval", after.half},
                         {"weights_kept", layers.kept()},
                         {"parameters_kept", layers.kept_parameters},
                         {"macs_kept", layers.kept_macs()},
                         {"bytes", layers.sparse_bytes()},
                         {"scoring_seconds", runs.back().scoring.seconds},
                         {"scoring_backward_passes", runs.back().scoring.backward_passes},
                         {"runs", std::move(all)}};
  if (const nlohmann::json& small = runs.back().shrunk; !small.is_null()) {
    summary["parameters_kept"] = small.at("parameters"), summary["macs_kept"] = small.at("macs");
    summary["weights_kept"] = small.at("weights");
    summary["bytes"] = 4 * small.at("parameters").get<std::int64_t>();
  }
  return summary;
}

void CompareCommand::run() const {
  const RunFolder folder(run_dir, "compare");
  nlohmann::json report{{"recipes", nlohmann::json::array()}, {"device", device_json()}};
  if (variants.train_epochs) report["train_epochs"] = *variants.train_epochs;
  if (variants.tune_epochs) report["tune_epochs"] = *variants.tune_epochs;
  Table table(
      {"recipe", "dense %", "pruned %", "± 95 %", "weights", "params", "MACs", "bytes", "scoring s", "backward"});
  for (const Recipe& recipe : read_variants(variants)) {  // all are read before hours of training
    std::vector<RecipeResult> runs;
    for (std::int64_t seed = 1; seed <= seeds; ++seed) {
      const data::ImageData images = images_for(recipe, data, std::uint64_t(seed), output);
      runs.push_back(carry_out(recipe, std::uint64_t(seed), images, folder.path(), output));
    }
    report["recipes"].push_back(summary_of(recipe, runs));
    const nlohmann::json& row = report["recipes"].back();
    const auto count = [&](const char* key) { return std::to_string(row.at(key).get<std::int64_t>()); };
    table.add({recipe.name, fmt::format("{:.2f}", 100 * row.at("dense_accuracy").get<double>()),
               fmt::format("{:.2f}", 100 * row.at("test_accuracy").get<double>()),
               runs.size() > 1 ? fmt::format("{:.2f}", 100 * row.at("interval").get<double>()) : "-",
               count("weights_kept"), count("parameters_kept"), count("macs_kept"), count("bytes"),
               fmt::format("{:.2f}", row.at("scoring_seconds").get<double>()), count("scoring_backward_passes")});
    folder.write_report(report);  // what is done so far
    write_file_atomically(folder / "table.md", table.to_markdown());
  }
  say(output, table.to_string());
  print_result(output, report);
}

}  // namespace

Command compare_command(CLI::App& app) {
  const auto command = std::make_shared<CompareCommand>();
  CLI::App* parser = app.add_subcommand("compare", "Carry out several recipes over several seeds, side by side");
  parser->add_option("--seeds", command->seeds, "Runs of each, with seeds from 1 on")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  add_variant_options(*parser, command->variants);
  add_data_options(*parser, command->data);
  parser->add_option("--run-dir", command->run_dir, "Folder for the results (default: runs/compare-DATE-TIME)");
  add_output_options(*parser, command->output);
  return {parser, [command] { command->run(); }};
}

}  // namespace espalier::apps
