// benchmark(): how long a piece of device work takes, as a median over repeats after a warm-up.
// On a GPU by CUDA events, in the cpu build by the host clock; `device` says which machine the figure belongs to.
#pragma once
#include <functional>
#include <string>

namespace espalier {

struct Timing {
  double median_us = 0, lower_quartile_us = 0, upper_quartile_us = 0, minimum_us = 0;
  int repeats = 0;
};

struct BenchmarkOptions {
  int warmup = 3;
  int min_repeats = 7;
  int max_repeats = 1000;
  double budget_ms = 100;  // stops repeating once both this and min_repeats are reached
};

// Runs `work` (which enqueues on current_stream()) repeatedly; each repeat is timed to its completion. `before_each`,
// if any, is enqueued before each repeat, outside of its time: it empties a cache, say.
Timing benchmark(const std::function<void()>& work, const BenchmarkOptions& options = {},
                 const std::function<void()>& before_each = {});

// Two pieces of work beside each other. They take turns sample by sample in the order A B B A: what the machine does
// meanwhile, and a speed that drifts, meets both alike. A slow moment hits one pair and not the median of the pairs.
struct PairedTiming {
  Timing first, second;
  double ratio = 1;  // median over the pairs of first / second: how many times as fast the second is
};

PairedTiming benchmark_pair(const std::function<void()>& first, const std::function<void()>& second,
                            const BenchmarkOptions& options = {});

// The same with samples that are had in another way: each call gives the time of one, in µs.
using Sampler = std::function<double()>;
PairedTiming pairs_of(const Sampler& first, const Sampler& second, const BenchmarkOptions& options = {});

}  // namespace espalier
