// One model in every format beside the dense one: which networks are timed, and what their ratio is.
#include "pruning/comparison.h"

#include <doctest/doctest.h>

#include "layers/layers.h"
#include "pruning/pruner.h"

namespace espalier::pruning {
namespace {

Sequential two_layers() { return Sequential(Dense(24, 16), Relu(), Dense(16, 10)); }

// A sparse product takes `csr_us` where the dense one takes 50, and the machine slows down from sample to sample.
Comparison compared(double csr_us) {
  Sequential model = two_layers();
  Pruner(model, {}).prune_to(0.5);
  double slower = 1;
  ComparisonOptions options{.timing = {.min_repeats = 10, .max_repeats = 10, .budget_ms = 0}};
  options.compile.candidates = {dense(), csr()};
  options.compile.timer = [slower, csr_us](const TimedWork& work, const BenchmarkOptions&) mutable {
    if (work.layer != "network") return Timing{.median_us = work.format == "csr" ? csr_us : 50.0};
    const double part = work.format == "fastest of each layer" ? 0.5 : 1.0;  // when the plan is made, not beside dense
    return Timing{.median_us = part * 100 * (slower *= 1.01)};
  };
  return compare_formats(model, {3, 24}, options);
}

TEST_CASE("comparison: a plan that is the dense one in each step shares its measurement") {
  const Comparison comparison = compared(/*csr_us=*/80);
  const Contender &dense = comparison.contenders.front(), &plan = comparison.contenders.back();
  REQUIRE(plan.name == "plan");
  CHECK(plan.same_as_dense);
  CHECK(comparison.speedup(plan) == 1.0);
  CHECK(plan.timing.median_us == dense.timing.median_us);
}

TEST_CASE("comparison: that the machine slows down is no loss of the network that comes later") {
  const Comparison comparison = compared(/*csr_us=*/20);
  const Contender& plan = comparison.contenders.back();
  CHECK(!plan.same_as_dense);
  for (const Contender& one : comparison.contenders) {
    CAPTURE(one.name);
    CHECK(comparison.speedup(one) == doctest::Approx(1.0).epsilon(0.002));
  }
}

TEST_CASE("comparison: a format of layers that the network has not got takes no part, nor has it a row") {
  Sequential model = two_layers();
  ComparisonOptions options{.timing = {.min_repeats = 1, .max_repeats = 1, .budget_ms = 0}};
  options.compile.candidates = {dense(), csr(), compiled_conv2d()};
  const Comparison comparison = compare_formats(model, {3, 24}, options);
  std::vector<std::string> names;
  for (const Contender& one : comparison.contenders) names.push_back(one.name);
  CHECK(names == std::vector<std::string>{"dense fp32", "csr", "plan"});
}

}  // namespace
}  // namespace espalier::pruning
