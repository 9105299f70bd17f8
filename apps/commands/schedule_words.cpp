#include "apps/commands/schedule_words.h"

#include <algorithm>

#include "apps/commands/pattern_words.h"
#include "kernels/require.h"

namespace espalier::apps {

using namespace pruning;

namespace {

Schedule made(const PruningOptions& options, double sparsity, int steps) {
  const int begin = std::min(int(options.begin * steps), steps - 2);
  const int end = std::clamp(int(options.end * steps), begin + 1, steps - 1);
  if (options.schedule == "one-shot" || own_sparsity(options.pattern)) return one_shot(sparsity, begin);
  const Cubic ramp{.to = sparsity, .begin = begin, .end = end, .every = std::max(1, (end - begin) / 20)};
  if (options.schedule == "linear") return linear(ramp);
  if (options.schedule == "cubic") return cubic(ramp);
  const Iterative rounds{.fraction = options.fraction, .to = sparsity, .begin = begin};
  const int between = std::max(1, (end - begin) / std::max(1, prunings(rounds) - 1));
  return iterative({.fraction = rounds.fraction, .to = rounds.to, .begin = begin, .every = between});
}

}  // namespace

Schedule schedule_of(const PruningOptions& options, double sparsity, int steps) {
  const bool at_one_step = options.schedule == "one-shot" && options.preparation == "none";
  require(at_one_step || own_sparsity(options.pattern) || options.begin <= options.end,
          "prune: weights begin to fall at ", options.begin, " of the steps, but the end is at ", options.end,
          "; begin must not be above end");
  Schedule schedule = made(options, sparsity, steps);
  int last = steps - 1;
  while (last > 0 && !schedule(last)) --last;
  require(schedule(last).value_or(0) >= sparsity, "prune: within ", steps, " steps the schedule ", options.schedule,
          " comes to a sparsity of ", schedule(last).value_or(0), " instead of ", sparsity,
          "; train longer, or let more fall at a time (fraction)");
  require(last + 1 > options.rewind, "prune: to rewind to the weights after ", options.rewind,
          " steps, weights must fall later, but the last do after ", last + 1, "; lower rewind, or raise end");
  return schedule;
}

}  // namespace espalier::apps
