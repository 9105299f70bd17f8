// Pairs of samples: what the machine does meanwhile meets both works alike.
#include "core/device/timer.h"

#include <doctest/doctest.h>

#include <string>

namespace espalier {
namespace {

constexpr BenchmarkOptions kTenPairs{.min_repeats = 10, .max_repeats = 10};

TEST_CASE("benchmark_pair: works take turns in the order A B B A") {
  std::string order;
  const auto sampler = [&](char name) { return [&order, name] { return order += name, 1.0; }; };
  pairs_of(sampler('a'), sampler('b'), {.min_repeats = 3, .max_repeats = 3, .budget_ms = 0});
  CHECK(order == "abbaabba");  // an even number of pairs: each is as often the first
}

TEST_CASE("benchmark_pair: a machine that becomes slower, or has a slow moment, favours none of two equal works") {
  double clock_us = 100;
  const Sampler drifting = [&] { return clock_us *= 1.05; };
  const PairedTiming drift = pairs_of(drifting, drifting, kTenPairs);
  CHECK(drift.ratio == doctest::Approx(1.0).epsilon(0.002));

  int samples = 0;
  const Sampler disturbed = [&] { return samples++ % 7 == 0 ? 900.0 : 100.0; };
  const PairedTiming moment = pairs_of(
      disturbed, [&] { return 0.5 * disturbed(); }, kTenPairs);
  CHECK(moment.ratio == doctest::Approx(2.0));
  CHECK(moment.first.median_us == 100.0);
  CHECK(moment.second.median_us == 50.0);
  CHECK(moment.second.repeats == 10);
}

TEST_CASE("benchmark_pair: a short work runs as often in a sample as makes it long enough") {
  int runs = 0;
  const PairedTiming pair = benchmark_pair([&] { ++runs; }, [] {}, {.warmup = 1, .min_repeats = 2, .budget_ms = 0});
  CHECK(runs > 2 * pair.first.repeats);
  CHECK(pair.first.median_us > 0);
}

}  // namespace
}  // namespace espalier
