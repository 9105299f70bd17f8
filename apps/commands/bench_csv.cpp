// The figures of bench as comma-separated values, whole networks and layers alike.
#include <fmt/format.h>

#include "apps/commands/bench_report.h"

namespace espalier::apps {
namespace {

using pruning::Comparison;
using pruning::Contender;
using pruning::PlanStep;

std::string quoted(const std::string& text) {
  std::string result = "\"";
  for (const char c : text) result += c == '"' ? std::string("\"\"") : std::string(1, c);
  return result + "\"";
}

struct Line {
  std::string layer, format;
  double us = 0;
  Timing timing;
  std::optional<double> limit_us = std::nullopt;
  std::int64_t macs = 0, macs_kept = 0, bytes = 0;
  double dense_us = 0, best_dense_us = 0;
};

Line line_of(const PlanStep& step) {
  return {.layer = step.layer,
          .format = step.format,
          .us = step.us,
          .timing = step.timing,
          .limit_us = step.limit_us,
          .macs = step.macs,
          .macs_kept = step.macs_kept,
          .bytes = step.bytes};
}

Line network_line(const Contender& one) {
  Line line{.layer = "all", .format = one.name, .us = one.timing.median_us, .timing = one.timing};
  line.limit_us = one.limit_us;
  for (const PlanStep& step : one.steps) {
    line.macs += step.macs, line.macs_kept += step.macs_kept, line.bytes += step.bytes;
  }
  return line;
}

std::string to_string(const Line& line) {
  const auto cell = [](double value) { return value > 0 ? fmt::format("{:.6g}", value) : std::string(); };
  return fmt::format("{},{},{},{},{},{},{},{},{},{},{}", quoted(line.layer), quoted(line.format), cell(line.us),
                     cell(line.timing.lower_quartile_us), cell(line.timing.upper_quartile_us),
                     cell(line.us > 0 ? line.dense_us / line.us : 0),
                     cell(line.us > 0 ? line.best_dense_us / line.us : 0), cell(line.limit_us.value_or(0)), line.macs,
                     line.macs_kept, line.bytes);
}

// The lines of one network: the whole of it first, then its products; each beside what it takes dense.
std::vector<Line> lines_of(const Comparison& comparison, const Contender& one) {
  const Contender &fp32 = comparison.contenders[0], &best = comparison.contenders[comparison.best_dense];
  std::vector<Line> lines{network_line(one)};
  lines[0].dense_us = comparison.speedup(one) * lines[0].us;  // in the turns that they took beside each other
  lines[0].best_dense_us = comparison.speedup_over_best(one) * lines[0].us;
  for (const PlanStep& step : one.steps) {
    if (step.candidates.empty()) continue;
    lines.push_back(line_of(step));
    lines.back().dense_us = time_in(fp32, step), lines.back().best_dense_us = time_in(best, step);
  }
  return lines;
}

}  // namespace

std::string to_csv(const std::string& model, const Comparisons& comparisons) {
  std::string csv =
      "model,timing,batch,network,layer,format,median_us,lower_quartile_us,upper_quartile_us,speedup_dense_fp32,"
      "speedup_best_dense,limit_us,macs,macs_kept,bytes\n";
  for (const Comparison& comparison : comparisons) {
    for (const Contender& one : comparison.contenders) {
      if (!one.took_part()) continue;
      for (const Line& line : lines_of(comparison, one)) {
        csv += fmt::format("{},{},{},{},{}\n", quoted(model), quoted(comparison.timing), comparison.batch,
                           quoted(one.name), to_string(line));
      }
    }
  }
  return csv;
}

}  // namespace espalier::apps
