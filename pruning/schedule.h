// When to prune, and how far: the sparsity due at a step, if any is. Pure functions of the step, so that a resumed run
// needs to know nothing but where it stands.
#pragma once
#include <cmath>
#include <functional>
#include <optional>

#include "kernels/require.h"

namespace espalier::pruning {

using Schedule = std::function<std::optional<double>(int step)>;  // sparsity in [0, 1)

inline void require_sparsity(double sparsity) {
  require(sparsity >= 0.0 && sparsity < 1.0, "sparsity is ", sparsity,
          "; it is the fraction of weights removed, at least 0 and below 1");
}

// All at once, at the given step.
inline Schedule one_shot(double sparsity, int at = 0) {
  require_sparsity(sparsity);
  return [=](int step) { return step == at ? std::optional(sparsity) : std::nullopt; };
}

struct Cubic {
  double from = 0.0, to = 0.9;  // sparsity before and after
  int begin = 0, end = 1000;    // first and last step that prunes
  int every = 100;              // steps between prunings
};

// Fast at first, while there is much to remove, slow in the end: to + (from - to) (1 - t)^3, t from 0 at `begin` to 1
// at `end` (Zhu and Gupta 2017, arXiv 1710.01878, equation 1). The last pruning is at `end`, whatever `every` is.
inline Schedule cubic(const Cubic& options) {
  require_sparsity(options.from);
  require_sparsity(options.to);
  require(options.from <= options.to, "cubic schedule: sparsity would fall from ", options.from, " to ", options.to);
  require(options.begin >= 0 && options.end > options.begin && options.every >= 1, "cubic schedule: begin ",
          options.begin, ", end ", options.end, ", every ", options.every, "; needs 0 <= begin < end and every >= 1");
  return [options](int step) -> std::optional<double> {
    if (step < options.begin || step > options.end) return std::nullopt;
    if (step != options.end && (step - options.begin) % options.every != 0) return std::nullopt;
    const double left = 1.0 - double(step - options.begin) / double(options.end - options.begin);
    return options.to + (options.from - options.to) * left * left * left;
  };
}

}  // namespace espalier::pruning
