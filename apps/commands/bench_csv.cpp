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
          .macs = step.size.macs(),
          .macs_kept = step.nonzeros * step.size.positions,
          .bytes = step.bytes};
}

Line network_line(const Contender& one) {
  Line line{.layer = "all", .format = one.name, .us = one.timing.median_us, .timing = one.timing};
  line.limit_us = one.limit_us;
  for (const PlanStep& step : one.steps) {
    line.macs += step.size.macs(), line.macs_kept += step.nonzeros * step.size.positions, line.bytes += step.bytes;
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

// The lines of one network: the whole of it first, then its products.
std::vector<Line> lines_of(const Contender& one) {
  std::vector<Line> lines{network_line(one)};
  for (const PlanStep& step : one.steps) {
    if (!step.candidates.empty()) lines.push_back(line_of(step));
  }
  return lines;
}

}  // namespace

std::string to_csv(const std::string& model, const Comparisons& comparisons) {
  std::string csv =
      "model,timing,batch,network,layer,format,median_us,lower_quartile_us,upper_quartile_us,speedup_dense_fp32,"
      "speedup_best_dense,limit_us,macs,macs_kept,bytes\n";
  for (const Comparison& comparison : comparisons) {
    const std::vector<Line> fp32 = lines_of(comparison.contenders[0]);
    const std::vector<Line> best = lines_of(comparison.contenders[comparison.best_dense]);
    for (const Contender& one : comparison.contenders) {
      if (!one.took_part()) continue;
      std::vector<Line> lines = lines_of(one);
      for (std::size_t i = 0; i < lines.size(); ++i) {
        lines[i].dense_us = fp32[i].us, lines[i].best_dense_us = best[i].us;  // the same products in the same order
        csv += fmt::format("{},{},{},{},{}\n", quoted(model), quoted(comparison.timing), comparison.batch,
                           quoted(one.name), to_string(lines[i]));
      }
    }
  }
  return csv;
}

}  // namespace espalier::apps
