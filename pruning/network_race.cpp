#include "pruning/network_race.h"

#include <cmath>

namespace espalier::pruning {
namespace {

// In repeats of a layer: a whole network decides more than one layer does, and its pairs share one machine.
constexpr int kPairs = 4, kPairsInDoubt = 16;
constexpr double kDoubt = 0.08;  // this near to equal, pairs on a busy machine do not agree

PairedTiming paired(const TimedWork& one, const TimedWork& last, const CompileOptions& options) {
  const auto times = [&](int pairs) {
    BenchmarkOptions how = options.timing;
    how.min_repeats *= pairs, how.max_repeats *= pairs, how.budget_ms *= pairs;
    return timed_in_pairs(one, last, how, options.timer);
  };
  const PairedTiming few = times(kPairs);
  return std::abs(few.ratio - 1) < kDoubt ? times(kPairsInDoubt) : few;
}

// The first of a pair, as it would be if the machine were always as fast as when `last` was timed.
Timing adjusted(const PairedTiming& pair, const Timing& last) {
  const double factor = last.median_us * pair.ratio / pair.first.median_us;
  return {.median_us = last.median_us * pair.ratio,
          .lower_quartile_us = pair.first.lower_quartile_us * factor,
          .upper_quartile_us = pair.first.upper_quartile_us * factor,
          .minimum_us = pair.first.minimum_us * factor,
          .repeats = pair.first.repeats};
}

}  // namespace

PairedTiming timed_in_pairs(const TimedWork& first, const TimedWork& second, const BenchmarkOptions& options,
                            const Timer& timer) {
  if (!timer) return benchmark_pair(first.run, second.run, options);
  return pairs_of([&] { return timer(first, options).median_us; }, [&] { return timer(second, options).median_us; },
                  options);
}

std::vector<Timing> network_race(const std::vector<Racer>& racers, const std::string& question,
                                 const CompileOptions& options) {
  std::vector<Timing> times;
  if (const auto known = options.cache.find(question); known && known->size() == racers.size()) {
    for (const CachedTime& one : *known) times.push_back(one.timing);
    return times;
  }
  const TimedWork& last = racers.back().work;
  Timing of_last;
  for (std::size_t i = 0; i + 1 < racers.size(); ++i) {
    const PairedTiming pair = paired(racers[i].work, last, options);
    if (i == 0) of_last = pair.second;
    times.push_back(adjusted(pair, of_last));
  }
  times.push_back(of_last);
  std::vector<CachedTime> answer;
  for (std::size_t i = 0; i < times.size(); ++i) {
    answer.push_back({times[i], int(racers[i].graph->node_count())});
  }
  options.cache.store(question, answer);
  return times;
}

}  // namespace espalier::pruning
