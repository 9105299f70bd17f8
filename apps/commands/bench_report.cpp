#include "apps/commands/bench_report.h"

#include <fmt/format.h>

#include <map>
#include <nlohmann/json.hpp>

#include "apps/commands/table.h"

namespace espalier::apps {
namespace {

using pruning::Comparison;
using pruning::Contender;
using pruning::PlanStep;

std::string spread(const Timing& timing) {
  if (timing.repeats == 0) return "-";  // modelled
  return fmt::format("{:.1f} - {:.1f}", timing.lower_quartile_us, timing.upper_quartile_us);
}

std::string figure(const std::optional<double>& us) { return us ? fmt::format("{:.1f}", *us) : "-"; }

nlohmann::json or_null(const std::optional<double>& us) { return us ? nlohmann::json(*us) : nlohmann::json(); }

std::string ratio(double dense_us, double us) { return us > 0 ? fmt::format("{:.2f}x", dense_us / us) : "-"; }

nlohmann::json layer_json(const Comparison& comparison, const PlanStep& step) {
  const double fp32 = time_in(comparison.contenders[0], step);
  const double best = time_in(comparison.contenders[comparison.best_dense], step);
  return {{"layer", step.layer},
          {"format", step.format},
          {"implementation", step.implementation},
          {"median_us", step.us},
          {"lower_quartile_us", step.timing.lower_quartile_us},
          {"upper_quartile_us", step.timing.upper_quartile_us},
          {"speedup_dense_fp32", fp32 / step.us},
          {"speedup_best_dense", best / step.us},
          {"macs", step.macs},
          {"macs_kept", step.macs_kept},
          {"bytes", step.bytes},
          {"limit_us", or_null(step.limit_us)}};
}

// Calls with each contender that took part and each of its products.
template <class Visit>
void each_product(const Comparisons& comparisons, const Visit& visit) {
  for (const Comparison& comparison : comparisons) {
    for (const Contender& one : comparison.contenders) {
      for (const PlanStep& step : one.steps) {
        if (!step.candidates.empty()) visit(comparison, one, step);
      }
    }
  }
}

}  // namespace

std::string network_table(const Comparisons& comparisons) {
  Table table({"batch", "network", "µs", "quartiles", "x dense fp32", "x best dense", "limit µs", "images/s"}, {1});
  std::map<std::string, std::string> absent;
  std::vector<std::string> twins;
  for (const Comparison& comparison : comparisons) {
    for (const Contender& one : comparison.contenders) {
      const std::string batch = std::to_string(comparison.batch);
      if (!one.took_part()) {
        table.add({batch, one.name, "-", "-", "-", "-", "-", "-"});
        absent[one.name] = one.note;
        continue;
      }
      if (one.same_as_dense) twins.push_back(fmt::format("batch {}: {}", batch, one.name));
      table.add({batch, one.name, fmt::format("{:.1f}", one.timing.median_us), spread(one.timing),
                 fmt::format("{:.2f}x", comparison.speedup(one)),
                 fmt::format("{:.2f}x", comparison.speedup_over_best(one)), figure(one.limit_us),
                 fmt::format("{:.0f}", 1e6 * double(comparison.batch) / one.timing.median_us)});
    }
  }
  std::string text = table.to_string();
  for (const std::string& twin : twins) text += twin + " is computed as dense fp32, step by step: one measurement\n";
  for (const auto& [name, note] : absent) text += fmt::format("no layer takes {}; {}\n", name, note);
  return text;
}

std::string layer_table(const Comparisons& comparisons) {
  Table table({"batch", "network", "layer", "format", "µs", "quartiles", "x dense fp32", "x best dense", "limit µs",
               "MACs left", "bytes"},
              {1, 2, 3});
  each_product(comparisons, [&](const Comparison& comparison, const Contender& one, const PlanStep& step) {
    table.add({std::to_string(comparison.batch), one.name, step.layer, step.format, fmt::format("{:.1f}", step.us),
               spread(step.timing), ratio(time_in(comparison.contenders[0], step), step.us),
               ratio(time_in(comparison.contenders[comparison.best_dense], step), step.us), figure(step.limit_us),
               std::to_string(step.macs_kept), std::to_string(step.bytes)});
  });
  return table.to_string();
}

std::string choice_table(const Comparisons& comparisons) {
  Table table({"batch", "layer", "format", "by", "µs", "reason"}, {1, 2, 3, 5});
  each_product(comparisons, [&](const Comparison& comparison, const Contender& one, const PlanStep& step) {
    if (&one != &comparison.contenders.back()) return;
    table.add({std::to_string(comparison.batch), step.layer, step.format, step.implementation,
               fmt::format("{:.1f}", step.us), step.reason});
  });
  return table.to_string();
}

nlohmann::json to_json(const Comparisons& comparisons) {
  nlohmann::json list = nlohmann::json::array();
  for (const Comparison& comparison : comparisons) {
    const Contender &plan = comparison.contenders.back(), &best = comparison.contenders[comparison.best_dense];
    nlohmann::json formats = nlohmann::json::array();
    for (const Contender& one : comparison.contenders) {
      if (!one.took_part()) {
        formats.push_back({{"format", one.name}, {"note", one.note}});
        continue;
      }
      nlohmann::json layers = nlohmann::json::array();
      for (const PlanStep& step : one.steps) {
        if (!step.candidates.empty()) layers.push_back(layer_json(comparison, step));
      }
      formats.push_back({{"format", one.name},
                         {"median_us", one.timing.median_us},
                         {"lower_quartile_us", one.timing.lower_quartile_us},
                         {"upper_quartile_us", one.timing.upper_quartile_us},
                         {"repeats", one.timing.repeats},
                         {"same_as_dense", one.same_as_dense},
                         {"speedup_dense_fp32", comparison.speedup(one)},
                         {"speedup_best_dense", comparison.speedup_over_best(one)},
                         {"limit_us", or_null(one.limit_us)},
                         {"layers", std::move(layers)}});
    }
    list.push_back({{"batch", comparison.batch},
                    {"timing", comparison.timing},
                    {"dense_us", comparison.contenders[0].timing.median_us},
                    {"best_dense", best.name},
                    {"best_dense_us", best.timing.median_us},
                    {"pruned_us", plan.timing.median_us},
                    {"speedup", comparison.speedup(plan)},
                    {"formats", std::move(formats)}});
  }
  return list;
}

}  // namespace espalier::apps
