#include "core/device/timer.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "core/device/stream.h"

namespace espalier {
namespace {

// A sample of a pair lasts at least so long: 40 times what the clock and two events cost, and far less than a turn of
// another process on the same core.
constexpr double kSampleUs = 200;
constexpr int kMostRuns = 1000;  // of one sample

struct Timed {
  const std::function<void()>&work, &before_each;
};

double timed_us(const Timed& timed, Event& begin, Event& end) {
  if (timed.before_each) timed.before_each();
  begin.record();
  timed.work();
  end.record();
  end.wait();
  return 1e3 * elapsed_ms(begin, end);
}

double quantile(const std::vector<double>& sorted, double q) {
  const double position = q * double(sorted.size() - 1);
  const auto below = std::size_t(position);
  const auto above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (position - double(below)) * (sorted[above] - sorted[below]);
}

Timing timing_of(std::vector<double> times_us) {
  std::sort(times_us.begin(), times_us.end());
  return {.median_us = quantile(times_us, 0.5),
          .lower_quartile_us = quantile(times_us, 0.25),
          .upper_quartile_us = quantile(times_us, 0.75),
          .minimum_us = times_us.front(),
          .repeats = int(times_us.size())};
}

// The mean of one run over as many as make a sample long enough.
Sampler sampler_of(const std::function<void()>& work, const BenchmarkOptions& options) {
  Event begin, end;
  double us = 0;
  for (int i = 0; i < std::max(1, options.warmup); ++i) us = timed_us({work, {}}, begin, end);
  const int runs = int(std::clamp(std::ceil(kSampleUs / std::max(us, 1e-3)), 1.0, double(kMostRuns)));
  return [work, runs] {
    Event first, last;
    const std::function<void()> all = [&] {
      for (int i = 0; i < runs; ++i) work();
    };
    return timed_us({all, {}}, first, last) / runs;
  };
}

}  // namespace

Timing benchmark(const std::function<void()>& work, const BenchmarkOptions& options,
                 const std::function<void()>& before_each) {
  const Timed timed{work, before_each};
  Event begin, end;
  for (int i = 0; i < options.warmup; ++i) timed_us(timed, begin, end);
  std::vector<double> times_us;
  double total_us = 0;
  while (int(times_us.size()) < options.max_repeats &&
         (int(times_us.size()) < options.min_repeats || total_us < 1e3 * options.budget_ms)) {
    times_us.push_back(timed_us(timed, begin, end));
    total_us += times_us.back();
  }
  return timing_of(std::move(times_us));
}

PairedTiming pairs_of(const Sampler& first, const Sampler& second, const BenchmarkOptions& options) {
  std::vector<double> first_us, second_us, ratios;
  const auto take = [](const Sampler& sampler, std::vector<double>& times_us) { times_us.push_back(sampler()); };
  double total_us = 0;
  const auto more = [&] {
    const int pairs = int(ratios.size());
    if (pairs < options.min_repeats || pairs % 2 == 1) return true;  // as often first as second
    return pairs < options.max_repeats && total_us < 1e3 * options.budget_ms;
  };
  while (more()) {
    const bool turned = ratios.size() % 2 == 1;
    take(turned ? second : first, turned ? second_us : first_us);
    take(turned ? first : second, turned ? first_us : second_us);
    ratios.push_back(first_us.back() / second_us.back());
    total_us += first_us.back() + second_us.back();
  }
  std::sort(ratios.begin(), ratios.end());
  return {timing_of(std::move(first_us)), timing_of(std::move(second_us)), quantile(ratios, 0.5)};
}

PairedTiming benchmark_pair(const std::function<void()>& first, const std::function<void()>& second,
                            const BenchmarkOptions& options) {
  return pairs_of(sampler_of(first, options), sampler_of(second, options), options);
}

}  // namespace espalier
