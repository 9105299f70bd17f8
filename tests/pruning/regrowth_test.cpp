// One turn of dynamic sparse training, and of the schedules around it, against the same choice on the host.
#include "pruning/regrowth.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/require.h"
#include "pruning/choice.h"
#include "pruning/schedule.h"
#include "tests/support/close.h"
#include "tests/support/reference/mask.h"

namespace espalier::pruning {
namespace {

constexpr std::size_t kCount = 300;

Parameter half_pruned() {
  const std::vector<float> values = test::random_floats(kCount, 1), draws = test::random_floats(kCount, 2);
  std::vector<std::uint8_t> keep;
  for (const float draw : draws) keep.push_back(draw > 0 ? 1 : 0);
  Parameter parameter("layer.weight", Tensor::from({15, 20}, std::span<const float>(values)));
  parameter.set_mask({Tensor::from({15, 20}, keep)});
  return parameter;
}

std::vector<std::uint8_t> keep_of(const Parameter& parameter) {
  return parameter.mask()->keep.to_host_as<std::uint8_t>();
}

}  // namespace

TEST_CASE("regrow: the smallest living weights fall, the candidates of highest gradient grow, from zero") {
  Parameter parameter = half_pruned();
  const auto before = keep_of(parameter);
  const auto living = std::size_t(std::count(before.begin(), before.end(), 1));
  const std::vector<float> w = parameter.value.value().to_host(), g = test::random_floats(kCount, 3);
  parameter.value.set_gradient(Tensor::from({15, 20}, std::span<const float>(g)));
  const Regrowth regrowth{.fraction = 0.4, .begin = 0, .end = 100, .every = 10};
  const auto dropped = std::size_t(0.4 * 0.5 * (1 + std::cos(std::acos(-1.0) * 0.3)) * double(living));
  regrow(regrowth, 30, parameter);

  std::vector<float> score, candidates;
  for (std::size_t i = 0; i < kCount; ++i) {
    score.push_back(before[i] ? std::abs(w[i]) : -std::numeric_limits<float>::infinity());
  }
  const auto survivors = test::keep_highest_reference(score, living - dropped);
  for (std::size_t i = 0; i < kCount; ++i) {
    candidates.push_back(survivors[i] ? std::numeric_limits<float>::infinity() : std::abs(g[i]));
  }
  const auto after = keep_of(parameter);
  CHECK(after == test::keep_highest_reference(candidates, living));
  CHECK(after != before);
  const std::vector<float> now = parameter.value.value().to_host();
  for (std::size_t i = 0; i < kCount; ++i) CHECK(now[i] == (after[i] && before[i] ? w[i] : 0.0f));
}

TEST_CASE("regrow at random: the number of weights stays, the choice follows seed and step alone") {
  Parameter first = half_pruned(), second = half_pruned(), later = half_pruned();
  const std::int64_t living = first.mask()->kept();
  const Regrowth regrowth{.growth = grow_at_random(7), .end = 100, .every = 10};
  regrow(regrowth, 10, first);
  regrow(regrowth, 10, second);
  regrow(regrowth, 20, later);
  CHECK(first.mask()->kept() == living);
  CHECK(keep_of(first) == keep_of(second));
  CHECK(keep_of(first) != keep_of(later));
}

TEST_CASE("splice: the largest shadows live, what lives already with a bonus, and bring their values") {
  Parameter parameter = half_pruned();
  const auto before = keep_of(parameter);
  const std::size_t living = std::size_t(parameter.mask()->kept());
  const std::vector<float> w = parameter.value.value().to_host(), g = test::random_floats(kCount, 4);
  parameter.value.set_gradient(Tensor::from({15, 20}, std::span<const float>(g)));
  const Splicing splicing{.rate = 1.0f, .favour = 1.5f};
  const Tensor shadow = Tensor::zeros({15, 20});
  follow_in_shadow(splicing, parameter, shadow);
  splice(splicing, parameter, shadow);
  std::vector<float> values, score;
  for (std::size_t i = 0; i < kCount; ++i) {
    values.push_back(before[i] ? w[i] : -g[i]);
    score.push_back(std::abs(values[i]) * (before[i] ? 1.5f : 1.0f));
  }
  const auto after = keep_of(parameter);
  CHECK(after == test::keep_highest_reference(score, living));
  CHECK(after != before);
  const std::vector<float> now = parameter.value.value().to_host();
  for (std::size_t i = 0; i < kCount; ++i) CHECK(now[i] == (after[i] ? values[i] : 0.0f));
}

TEST_CASE("regrowth and splicing: impossible settings are refused, and due steps are as said") {
  CHECK_THROWS_AS(require_possible(Regrowth{.fraction = 1.0}), InvalidArgument);
  CHECK_THROWS_AS(require_possible(Regrowth{.begin = 5, .end = 5}), InvalidArgument);
  CHECK_THROWS_AS(require_possible(Splicing{.favour = 0.5f}), InvalidArgument);
  const Regrowth regrowth{.begin = 10, .end = 40, .every = 10};
  std::vector<int> due;
  for (int step = 0; step < 60; ++step) {
    if (regrowth.due(step)) due.push_back(step);
  }
  CHECK(due == std::vector<int>{20, 30});
  CHECK(regrowth.fraction_at(10) == 0.3);
  CHECK(regrowth.fraction_at(40) == doctest::Approx(0.0));
  Parameter parameter = half_pruned();
  CHECK_THROWS_WITH_AS(regrow(regrowth, 20, parameter), doctest::Contains("gradient"), InvalidArgument);
}

TEST_CASE("schedules: linear and iterative sparsities, and rates that go back with the weights") {
  const Schedule straight = linear({.from = 0.2, .to = 0.8, .begin = 10, .end = 110, .every = 25});
  CHECK(*straight(35) == doctest::Approx(0.35));
  CHECK(*straight(110) == doctest::Approx(0.8));
  CHECK(!straight(36));
  const Schedule rounds = iterative({.fraction = 0.2, .to = 0.5, .begin = 5, .every = 10});
  CHECK(*rounds(5) == doctest::Approx(0.2));
  CHECK(*rounds(15) == doctest::Approx(0.36));
  CHECK(*rounds(25) == doctest::Approx(0.488));
  CHECK(*rounds(35) == 0.5);
  CHECK(!rounds(45));
  CHECK(prunings({.fraction = 0.2, .to = 0.5}) == 4);
  CHECK_THROWS_AS(iterative({.fraction = 0.0}), InvalidArgument);
  CHECK_THROWS_AS(iterative({.to = 1.0}), InvalidArgument);
  const auto rate = rewound([](std::int64_t step) { return float(step); }, rounds, 3, 60);
  CHECK(rate(5) == 5.0f);
  CHECK(rate(6) == 3.0f);  // the pruning at step 5 comes after the sixth update
  CHECK(rate(15) == 12.0f);
  CHECK(rate(16) == 3.0f);
  CHECK(rate(59) == 26.0f);
}

}  // namespace espalier::pruning
