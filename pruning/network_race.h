// Whole networks timed beside each other, in pairs: what the machine does meanwhile, and a speed that drifts, meets
// both of a pair alike, so that a slow moment costs no plan its fast layers and lets no slow one win.
#pragma once
#include <string>
#include <vector>

#include "core/device/graph.h"
#include "pruning/selection.h"

namespace espalier::pruning {

struct Racer {
  TimedWork work;
  const Graph* graph;
};

// Two networks in pairs, by the timer if there is one.
PairedTiming timed_in_pairs(const TimedWork& first, const TimedWork& second, const BenchmarkOptions& options,
                            const Timer& timer);

// The time of each, in their order, or what the cache knows under `question`. Each but the last is paired with the
// last, and its time is that of the last times the median over the pairs of their ratio. Where they are nearly equal,
// more pairs decide.
std::vector<Timing> network_race(const std::vector<Racer>& racers, const std::string& question,
                                 const CompileOptions& options);

}  // namespace espalier::pruning
