// A plan in words and in JSON.
#include <nlohmann/json.hpp>

#include "core/device/device_info.h"
#include "pruning/plan.h"

namespace espalier::pruning {

std::string to_string(const Plan& plan) {
  const DeviceInfo device = device_info();
  std::string table = fmt::format("{:<14} {:<14} {:<14} {:>10} {:>9}  {}\n", "layer", "format", "implementation", "us",
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
  return table + fmt::format("{:<44} {:>10.1f}  each step timed alone, {}", "all steps", plan.steps_us(), device.name);
}

std::string Plan::to_json() const {
  nlohmann::json json = nlohmann::json::array();
  for (const PlanStep& step : steps()) {
    nlohmann::json candidates = nlohmann::json::array();
    for (const MeasuredImplementation& one : step.candidates) {
      candidates.push_back({{"format", one.format},
                            {"implementation", one.library},
                            {"us", one.us ? nlohmann::json(*one.us) : nlohmann::json()},
                            {"note", one.note}});
    }
    json.push_back({{"layer", step.layer},
                    {"format", step.format},
                    {"implementation", step.implementation},
                    {"us", step.us},
                    {"reason", step.reason},
                    {"takes_in", step.takes_in},
                    {"sparsity", step.sparsity},
                    {"weight_bytes", step.weight_bytes},
                    {"candidates", std::move(candidates)}});
  }
  return json.dump(2);
}

}  // namespace espalier::pruning
