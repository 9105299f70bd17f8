// A plan in words and in JSON.
#include <nlohmann/json.hpp>

#include "pruning/plan.h"

namespace espalier::pruning {
namespace {

std::string race_line(const DenseRace& race) {
  return fmt::format("\n{:<44} {:>10.1f}  dense {:.1f} µs: {}", "whole network", race.us, race.dense_us,
                     race.dense_won ? "the dense plan is taken" : fmt::format("{:.2f}x", race.dense_us / race.us));
}

nlohmann::json to_json(const MeasuredImplementation& one) {
  return {{"format", one.format},
          {"implementation", one.library},
          {"us", one.us ? nlohmann::json(*one.us) : nlohmann::json()},
          {"lower_quartile_us", one.timing.lower_quartile_us},
          {"upper_quartile_us", one.timing.upper_quartile_us},
          {"weight_bytes", one.weight_bytes},
          {"bytes", one.bytes},
          {"launches", one.launches},
          {"limit_us", one.limit_us ? nlohmann::json(*one.limit_us) : nlohmann::json()},
          {"note", one.note}};
}

}  // namespace

std::string to_string(const Plan& plan) {
  std::string table = fmt::format("{:<14} {:<14} {:<14} {:>10} {:>9}  {}\n", "layer", "format", "implementation", "µs",
                                  "sparsity", "reason");
  for (const PlanStep& step : plan.steps()) {
    const std::string sparsity = step.format.empty() ? "" : fmt::format("{:.1f} %", 100 * step.sparsity);
    table += fmt::format("{:<14} {:<14} {:<14} {:>10.1f} {:>9}  {}\n",
                         step.takes_in.empty() ? step.layer : step.layer + " +pool", step.format, step.implementation,
                         step.us, sparsity, step.reason);
    for (std::size_t i = 0; i < step.candidates.size(); ++i) {
      if (i == step.chosen) continue;
      const MeasuredImplementation& one = step.candidates[i];
      const std::string us = one.us ? fmt::format("{:.1f}", *one.us) : "-";
      table += fmt::format("{:<14}   {:<12} {:<14} {:>10} {:>9}  {}\n", "", one.format, one.library, us, "", one.note);
    }
  }
  table += fmt::format("{:<44} {:>10.1f}  each step by itself, {}", "all steps", plan.steps_us(), plan.timing());
  return plan.race() ? table + race_line(*plan.race()) : table;
}

std::string Plan::to_json() const {
  nlohmann::json json = nlohmann::json::array();
  for (const PlanStep& step : steps()) {
    nlohmann::json candidates = nlohmann::json::array();
    for (const MeasuredImplementation& one : step.candidates) candidates.push_back(pruning::to_json(one));
    json.push_back({{"layer", step.layer},
                    {"format", step.format},
                    {"implementation", step.implementation},
                    {"us", step.us},
                    {"lower_quartile_us", step.timing.lower_quartile_us},
                    {"upper_quartile_us", step.timing.upper_quartile_us},
                    {"timing", timing()},
                    {"reason", step.reason},
                    {"takes_in", step.takes_in},
                    {"sparsity", step.sparsity},
                    {"macs", step.macs},
                    {"macs_kept", step.macs_kept},
                    {"weight_bytes", step.weight_bytes},
                    {"bytes", step.bytes},
                    {"launches", step.launches},
                    {"limit_us", step.limit_us ? nlohmann::json(*step.limit_us) : nlohmann::json()},
                    {"candidates", std::move(candidates)}});
  }
  return json.dump(2);
}

}  // namespace espalier::pruning
