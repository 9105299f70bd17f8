#include "pruning/network_race.h"

#include <algorithm>

#include "pruning/reason.h"

namespace espalier::pruning {
namespace {

constexpr int kRoundsInDoubt = 7;  // odd, so that the median is a time that was measured

using Round = std::vector<Timing>;  // one timing per racer

// Who was ahead of all others by more than noise; none: nobody.
std::optional<std::size_t> winner(const Round& round) {
  const auto faster = [](const Timing& a, const Timing& b) { return a.median_us < b.median_us; };
  const std::size_t first = std::size_t(std::min_element(round.begin(), round.end(), faster) - round.begin());
  for (std::size_t i = 0; i < round.size(); ++i) {
    if (i != first && round[first].median_us >= (1.0 - kNoise) * round[i].median_us) return std::nullopt;
  }
  return first;
}

bool clear(const std::vector<Round>& rounds, std::optional<std::size_t> expected) {
  const auto first = expected ? expected : winner(rounds.front());
  return first && std::all_of(rounds.begin(), rounds.end(), [&](const Round& round) { return winner(round) == first; });
}

std::vector<Timing> medians(const std::vector<Round>& rounds) {
  std::vector<Timing> result;
  for (std::size_t i = 0; i < rounds.front().size(); ++i) {
    Round times;
    for (const Round& round : rounds) times.push_back(round[i]);
    const auto middle = times.begin() + std::ptrdiff_t((times.size() - 1) / 2);
    std::nth_element(times.begin(), middle, times.end(),
                     [](const Timing& a, const Timing& b) { return a.median_us < b.median_us; });
    result.push_back(*middle);
  }
  return result;
}

}  // namespace

std::vector<Timing> network_race(const std::vector<Racer>& racers, const std::string& question,
                                 std::optional<std::size_t> expected, const CompileOptions& options) {
  if (const auto known = options.cache.find(question); known && known->size() == racers.size()) {
    std::vector<Timing> times;
    for (const CachedTime& one : *known) times.push_back(one.timing);
    return times;
  }
  std::vector<TimedWork> works;
  for (const Racer& racer : racers) works.push_back(racer.work);
  CompileOptions once = options;
  once.rounds = 1;
  std::vector<Round> rounds;
  const auto enough = [&](int count) { return int(rounds.size()) >= count; };
  while (!enough(options.rounds) || (!enough(kRoundsInDoubt) && !clear(rounds, expected))) {
    rounds.push_back(time_in_turns(works, once));
  }
  const std::vector<Timing> times = medians(rounds);
  std::vector<CachedTime> answer;
  for (std::size_t i = 0; i < times.size(); ++i) {
    answer.push_back({times[i], int(racers[i].graph->node_count())});
  }
  options.cache.store(question, answer);
  return times;
}

}  // namespace espalier::pruning
