// Learning-rate schedules at their corners and in between.
#include "core/train/schedule.h"

#include <doctest/doctest.h>

#include <cmath>

#include "kernels/require.h"

using namespace espalier;
using doctest::Approx;

TEST_CASE("learning rate: constant and step decay") {
  CHECK(learning_rate::constant(0.3f)(123) == 0.3f);
  const auto decay = learning_rate::step_decay({.rate = 0.8f, .factor = 0.5f, .every = 10});
  CHECK(decay(0) == 0.8f);
  CHECK(decay(9) == 0.8f);
  CHECK(decay(10) == 0.4f);
  CHECK(decay(29) == 0.2f);
  CHECK_THROWS_AS(learning_rate::step_decay({.every = 0}), InvalidArgument);
}

TEST_CASE("learning rate: cosine warms up linearly, is half-way at the middle and stays at the floor") {
  const auto cosine = learning_rate::cosine({.peak = 1.0f, .floor = 0.2f, .steps = 110, .warmup = 10});
  CHECK(cosine(0) == Approx(0.1));
  CHECK(cosine(4) == Approx(0.5));
  CHECK(cosine(9) == Approx(1.0));
  CHECK(cosine(10) == Approx(1.0));
  CHECK(cosine(60) == Approx(0.6));
  CHECK(cosine(110) == Approx(0.2));
  CHECK(cosine(100'000) == Approx(0.2));
  for (int step = 10; step < 110; ++step) CHECK(cosine(step + 1) <= cosine(step));
  CHECK_THROWS_AS(learning_rate::cosine({.steps = 10, .warmup = 10}), InvalidArgument);
}

TEST_CASE("learning rate: a restart goes on with a schedule of its own from its beginning") {
  const auto rate = learning_rate::restarted(learning_rate::cosine({.peak = 1.0f, .steps = 60}), 60,
                                             learning_rate::cosine({.peak = 0.5f, .steps = 20}));
  CHECK(rate(30) == Approx(0.5));
  CHECK(rate(59) < 0.01);
  CHECK(rate(60) == Approx(0.5));
  CHECK(rate(70) == Approx(0.25));
  CHECK(rate(80) == Approx(0.0));
  CHECK_THROWS_AS(learning_rate::restarted(learning_rate::constant(1), 0, learning_rate::constant(1)), InvalidArgument);
}

TEST_CASE("learning rate: one cycle rises once and falls once, without a jump") {
  const auto cycle = learning_rate::one_cycle({.peak = 0.5f, .steps = 200, .rise = 0.25f});
  CHECK(cycle(0) == Approx(0.02));
  CHECK(cycle(50) == Approx(0.5));
  CHECK(cycle(199) == Approx(2e-6));
  CHECK(cycle(1000) == Approx(2e-6));
  for (int step = 0; step < 199; ++step) {
    CAPTURE(step);
    CHECK((cycle(step + 1) > cycle(step)) == (step < 50));
    CHECK(std::abs(cycle(step + 1) - cycle(step)) < 0.5 * 3.15 / 2 / 50 + 1e-3);  // the steepest slope of a half cosine
  }
  CHECK_THROWS_AS(learning_rate::one_cycle({.rise = 1.0f}), InvalidArgument);
  CHECK_THROWS_AS(learning_rate::one_cycle({.steps = 1}), InvalidArgument);
}
