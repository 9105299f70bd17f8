#include "core/device/timer.h"

#include <algorithm>
#include <vector>

#include "core/device/stream.h"

namespace espalier {
namespace {

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
  std::sort(times_us.begin(), times_us.end());
  return {.median_us = quantile(times_us, 0.5),
          .lower_quartile_us = quantile(times_us, 0.25),
          .upper_quartile_us = quantile(times_us, 0.75),
          .minimum_us = times_us.front(),
          .repeats = int(times_us.size())};
}

}  // namespace espalier
