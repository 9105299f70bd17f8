// When to prune, and how far: the sparsity due at a step, if any is. Pure functions of the step, so that a resumed run
// needs to know nothing but where it stands.
#pragma once
#include <functional>
#include <optional>

#include "core/train/schedule.h"
#include "kernels/require.h"

namespace espalier::pruning {

using Schedule = std::function<std::optional<double>(int step)>;  // sparsity in [0, 1)

void require_sparsity(double sparsity);  // throws InvalidArgument

// All at once, at the given step.
Schedule one_shot(double sparsity, int at = 0);

struct Cubic {
  double from = 0.0, to = 0.9;  // sparsity before and after
  int begin = 0, end = 1000;    // first and last step that prunes
  int every = 100;              // steps between prunings
};

// Fast at first, while there is much to remove, slow in the end: to + (from - to) (1 - t)^3, t from 0 at `begin` to 1
// at `end` (Zhu and Gupta 2017, arXiv 1710.01878, equation 1). The last pruning is at `end`, whatever `every` is.
Schedule cubic(const Cubic& options);

// As much at every pruning: to + (from - to) (1 - t).
using Linear = Cubic;
Schedule linear(const Linear& options);

// Prune a part of what is left, train on, and again, until `to` is reached: 1 - (1 - fraction)^n after the nth pruning
// (Han et al. 2015; Frankle and Carbin 2019, arXiv 1803.03635).
struct Iterative {
  double fraction = 0.2;  // of the rest
  double to = 0.9;        // the last pruning removes what is missing to it
  int begin = 0, every = 1000;
};
Schedule iterative(const Iterative& options);
int prunings(const Iterative& options);

// The rates of a run whose weights are set back to those after `to` updates at each pruning beyond: the rate is set
// back with them. `steps`: of the whole run.
learning_rate::Schedule rewound(learning_rate::Schedule base, const Schedule& pruning, int to, int steps);

}  // namespace espalier::pruning
