// Whole networks timed beside each other. One slow moment of the machine must not cost a plan its fast layers: the
// networks take turns, the median of the rounds counts, and a surprise is asked for again.
#pragma once
#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "core/device/graph.h"
#include "pruning/selection.h"

namespace espalier::pruning {

struct Racer {
  TimedWork work;
  const Graph* graph;
};

// The time of each, in their order, or what the cache knows under `question`. The rounds of the options are enough
// where one is ahead by more than noise in each of them and is the one that was expected, if any was; else there are
// more.
std::vector<Timing> network_race(const std::vector<Racer>& racers, const std::string& question,
                                 std::optional<std::size_t> expected, const CompileOptions& options);

}  // namespace espalier::pruning
