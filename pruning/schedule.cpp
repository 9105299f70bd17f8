#include "pruning/schedule.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace espalier::pruning {
namespace {

Schedule ramp(const Cubic& options, const char* name, int power) {
  require_sparsity(options.from);
  require_sparsity(options.to);
  require(options.from <= options.to, name, " schedule: sparsity would fall from ", options.from, " to ", options.to);
  require(options.begin >= 0 && options.end > options.begin && options.every >= 1, name, " schedule: begin ",
          options.begin, ", end ", options.end, ", every ", options.every, "; needs 0 <= begin < end and every >= 1");
  return [options, power](int step) -> std::optional<double> {
    if (step < options.begin || step > options.end) return std::nullopt;
    if (step != options.end && (step - options.begin) % options.every != 0) return std::nullopt;
    const double left = 1.0 - double(step - options.begin) / double(options.end - options.begin);
    return options.to + (options.from - options.to) * (power == 3 ? left * left * left : left);
  };
}

}  // namespace

void require_sparsity(double sparsity) {
  require(sparsity >= 0.0 && sparsity < 1.0, "sparsity is ", sparsity,
          "; it is the fraction of weights removed, at least 0 and below 1");
}

Schedule one_shot(double sparsity, int at) {
  require_sparsity(sparsity);
  return [=](int step) { return step == at ? std::optional(sparsity) : std::nullopt; };
}

Schedule cubic(const Cubic& options) { return ramp(options, "cubic", 3); }
Schedule linear(const Linear& options) { return ramp(options, "linear", 1); }

int prunings(const Iterative& options) {
  return std::max(1, int(std::ceil(std::log(1.0 - options.to) / std::log(1.0 - options.fraction) - 1e-9)));
}

Schedule iterative(const Iterative& options) {
  require_sparsity(options.to);
  require(options.fraction > 0.0 && options.fraction < 1.0, "iterative schedule: fraction is ", options.fraction,
          "; it is the part of the remaining weights that falls each time, above 0 and below 1");
  require(options.begin >= 0 && options.every >= 1, "iterative schedule: begin ", options.begin, ", every ",
          options.every, "; needs begin >= 0 and every >= 1");
  return [options, rounds = prunings(options)](int step) -> std::optional<double> {
    if (step < options.begin || (step - options.begin) % options.every != 0) return std::nullopt;
    const int round = (step - options.begin) / options.every + 1;
    if (round > rounds) return std::nullopt;
    return std::min(options.to, 1.0 - std::pow(1.0 - options.fraction, round));
  };
}

learning_rate::Schedule rewound(learning_rate::Schedule base, const Schedule& pruning, int to, int steps) {
  require(to >= 0 && to <= steps, "rewound: back to step ", to, " of ", steps);
  std::vector<int> starts;  // updates made when a pruning set the weights back
  for (int step = to; step < steps; ++step) {
    if (pruning(step)) starts.push_back(step + 1);
  }
  return [base = std::move(base), starts = std::move(starts), to](std::int64_t step) {
    const auto next = std::upper_bound(starts.begin(), starts.end(), step);
    return next == starts.begin() ? base(step) : base(to + step - *std::prev(next));
  };
}

}  // namespace espalier::pruning
