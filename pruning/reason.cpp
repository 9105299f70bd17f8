#include "pruning/reason.h"

#include <fmt/format.h>

namespace espalier::pruning {
namespace {

using Candidates = std::span<const MeasuredImplementation>;

std::string title(const MeasuredImplementation& one) { return one.format + ", " + one.library; }

bool is_dense(const MeasuredImplementation& one) { return one.format == "dense"; }

template <class Counts>
std::optional<std::size_t> fastest_of(Candidates candidates, const Counts& counts) {
  std::optional<std::size_t> best;
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    if (!candidates[i].us || !counts(i)) continue;
    if (!best || *candidates[i].us < *candidates[*best].us) best = i;
  }
  return best;
}

bool launch_bound(double us, double floor_us) { return us <= kLaunchBound * floor_us; }

enum class Obstacle { launches, narrow, sparsity };

// What keeps a sparse implementation from beating the chosen dense one.
Obstacle obstacle(const PlanStep& step, double floor_us) {
  if (launch_bound(step.us, floor_us)) return Obstacle::launches;
  return step.size.rows < kNarrowRows ? Obstacle::narrow : Obstacle::sparsity;
}

std::string pays(const PlanStep& step, const MeasuredImplementation& sparse, double floor_us) {
  const auto from = break_even(*sparse.us, step.us, step.sparsity, floor_us);
  return from ? fmt::format("pays from about {:.1f} % sparsity", 100 * *from) : "pays at no sparsity here";
}

std::string in_full(const PlanStep& step, const MeasuredImplementation& sparse, double floor_us) {
  switch (obstacle(step, floor_us)) {
    case Obstacle::launches:
      return fmt::format("launch-bound: dense takes {:.1f} µs, a launch that does nothing {:.1f} µs", step.us,
                         floor_us);
    case Obstacle::narrow:
      return fmt::format("too narrow: {} rows of the weight do not fill {} lanes", step.size.rows, kNarrowRows);
    default:
      return fmt::format("below break-even: {} {}, this weight has {:.1f} %", sparse.format,
                         pays(step, sparse, floor_us), 100 * step.sparsity);
  }
}

std::string in_short(const PlanStep& step, const MeasuredImplementation& sparse, double floor_us) {
  switch (obstacle(step, floor_us)) {
    case Obstacle::launches:
      return "launch-bound";
    case Obstacle::narrow:
      return "too narrow";
    default:
      return "below break-even, " + pays(step, sparse, floor_us);
  }
}

std::string against_the_next(const PlanStep& step) {
  const auto others = [&](std::size_t i) { return i != *step.chosen; };
  const auto dense = is_dense(step.candidates[*step.chosen]) ? std::nullopt : fastest_dense(step.candidates);
  const auto next = dense ? dense : fastest_of(step.candidates, others);
  if (!next) return "the only eligible implementation";
  const MeasuredImplementation& second = step.candidates[*next];
  return fmt::format("{:.2f}x as fast as {} ({:.1f} µs)", *second.us / step.us, title(second), *second.us);
}

}  // namespace

std::optional<std::size_t> fastest_dense(Candidates candidates) {
  return fastest_of(candidates, [&](std::size_t i) { return is_dense(candidates[i]); });
}

std::optional<std::size_t> fastest(Candidates candidates) {
  const auto best = fastest_of(candidates, [](std::size_t) { return true; });
  const auto best_dense = fastest_dense(candidates);
  if (best && best_dense && *candidates[*best].us > (1.0 - kNoise) * *candidates[*best_dense].us) return best_dense;
  return best;
}

std::optional<double> break_even(double sparse_us, double dense_us, double sparsity, double floor_us) {
  if (dense_us <= floor_us || sparse_us <= floor_us) return std::nullopt;
  return 1.0 - (1.0 - sparsity) * (dense_us - floor_us) / (sparse_us - floor_us);
}

std::string why(const PlanStep& step, double floor_us) {
  const MeasuredImplementation& chosen = step.candidates[*step.chosen];
  const auto sparse = fastest_of(step.candidates, [&](std::size_t i) { return !is_dense(step.candidates[i]); });
  if (is_dense(chosen) && sparse) {
    const MeasuredImplementation& rival = step.candidates[*sparse];
    if (*rival.us > step.us) return in_full(step, rival, floor_us);
    return fmt::format("{} is less than {:.0f} % faster, which is noise", rival.format, 100 * kNoise);
  }
  std::string reason = against_the_next(step);
  if (launch_bound(step.us, floor_us)) {
    reason += fmt::format("; launch-bound: a launch that does nothing takes {:.1f} µs", floor_us);
  }
  return reason;
}

std::string why_not(const PlanStep& step, std::size_t loser, double floor_us) {
  const MeasuredImplementation &other = step.candidates[loser], &chosen = step.candidates[*step.chosen];
  const double ratio = *other.us / *chosen.us;
  std::string note = fmt::format("{:.2f}x the time of {}", ratio, title(chosen));
  if (ratio <= 1.0) return note + fmt::format(": less than {:.0f} % better is noise", 100 * kNoise);
  return is_dense(chosen) && !is_dense(other) ? note + "; " + in_short(step, other, floor_us) : note;
}

}  // namespace espalier::pruning
