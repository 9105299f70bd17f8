// Hard-concrete gates against their formulae in double; the uniform numbers are fill_uniform's, cut to 23 bits.
#include "kernels/hard_concrete.h"

#include <doctest/doctest.h>

#include <bit>
#include <cmath>

#include "kernels/random.h"
#include "kernels/require.h"
#include "tests/support/close.h"
#include "tests/support/guarded_buffer.h"

namespace espalier::kernels {
namespace {

using namespace espalier::test;

constexpr HardConcrete kShape;
const PlanesShape kGroups[] = {{1, 1, 1}, {1, 31, 1}, {1, 4099, 1}, {1, 5, 7},    {1, 3, 129},
                               {6, 4, 9}, {3, 2, 1},  {2, 3, 2500}, {1, 33, 257}, {7, 1, 1}};

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }
double clipped(double x) { return std::min(1.0, std::max(0.0, x)); }
double stretched(double s) { return double(kShape.low) + (double(kShape.high) - double(kShape.low)) * s; }

std::size_t group_of(const PlanesShape& shape, std::size_t i) {
  return std::size_t(std::int64_t(i) / shape.area % shape.channels);
}

}  // namespace

TEST_CASE("draw_gates: a stretched and clipped concrete variable, some exactly 0 and 1, and its slope") {
  for (const std::size_t gates : {1, 31, 127, 128, 129, 4099}) {
    const std::vector<float> log_alpha = random_floats(gates, 1, -4, 4);
    const GuardedBuffer<float> on_log_alpha(log_alpha);
    const GuardedBuffer<std::int64_t> step(std::vector<std::int64_t>{5});
    GuardedBuffer<float> uniform(gates), gate(gates), slope(gates);
    fill_uniform(index_t(gates), {.seed = 3, .stream = 5}, 0, 1, uniform.data(), nullptr);
    draw_gates(index_t(gates), kShape, 3, step.data(), on_log_alpha.data(), gate.data(), slope.data(), nullptr);
    const std::vector<float> u = uniform.download(), found = gate.download(), slopes = slope.download();
    std::size_t closed = 0, open = 0;
    std::vector<double> expected, expected_slopes;
    for (std::size_t i = 0; i < gates; ++i) {
      const double x = (std::floor(double(u[i]) * 0x1p23) + 0.5) * 0x1p-23;
      const double s = sigmoid((std::log(x) - std::log(1 - x) + double(log_alpha[i])) / double(kShape.temperature));
      const bool inside = found[i] > 0 && found[i] < 1;  // at the very edge rounding decides
      expected.push_back(clipped(stretched(s)));
      expected_slopes.push_back(
          inside ? (double(kShape.high) - double(kShape.low)) * s * (1 - s) / double(kShape.temperature) : 0);
      closed += found[i] == 0.0f;
      open += found[i] == 1.0f;
    }
    CHECK(difference(found, expected, 0, 4e-6) == "");  // a logit of magnitude 16 is rounded to 1e-6
    CHECK(difference(slopes, expected_slopes, 0, 4e-6) == "");
    if (gates > 1000) CHECK((closed > gates / 10 && open > gates / 10));
    CHECK((gate.guards_intact() && slope.guards_intact()));
  }
}

TEST_CASE("expected_gates: without noise, closed and open ones exactly") {
  const std::vector<float> log_alpha{-30, -2.5f, -2.3f, 0, 1, 2.3f, 2.5f, 30, 0.5f};
  const GuardedBuffer<float> on_log_alpha(log_alpha);
  GuardedBuffer<float> gate(log_alpha.size());
  expected_gates(index_t(log_alpha.size()), kShape, on_log_alpha.data(), gate.data(), nullptr);
  const std::vector<float> found = gate.download();
  std::vector<double> expected;
  for (const float a : log_alpha) expected.push_back(clipped(stretched(sigmoid(double(a)))));
  CHECK(difference(found, expected, 0, 1e-6) == "");
  CHECK((found[0] == 0.0f && found[1] == 0.0f && found[2] > 0.0f && found[5] < 1.0f && found[6] == 1.0f));
  CHECK(gate.guards_intact());
}

TEST_CASE("gate_weights: each weight by the gate of its group, +0 behind a closed one") {
  for (const PlanesShape& shape : kGroups) {
    INFO("[", shape.batch, ", ", shape.channels, ", ", shape.area, "]");
    const std::vector<float> weight = random_floats(std::size_t(shape.size()), 2);
    std::vector<float> gate = random_floats(std::size_t(shape.channels), 3, 0, 1);
    for (std::size_t g = 0; g < gate.size(); g += 2) gate[g] = 0.0f;
    const GuardedBuffer<float> on_gate(gate);
    GuardedBuffer<float> gated(weight);
    gate_weights(shape, on_gate.data(), gated.data(), gated.data(), nullptr);
    const std::vector<float> found = gated.download();
    for (std::size_t i = 0; i < found.size(); ++i) {
      const float expected = gate[group_of(shape, i)] == 0.0f ? 0.0f : gate[group_of(shape, i)] * weight[i];
      CHECK(std::bit_cast<std::uint32_t>(found[i]) == std::bit_cast<std::uint32_t>(expected));
    }
    CHECK(gated.guards_intact());
  }
}

TEST_CASE("gate_gradients: chain rule through the gates, and the slope of the expected L0 norm") {
  constexpr float kStrength = 0.25f;
  const GuardedBuffer<float> strength(std::vector<float>{kStrength});
  const double offset = -double(kShape.temperature) * std::log(-double(kShape.low) / double(kShape.high));
  for (const PlanesShape& shape : kGroups) {
    INFO("[", shape.batch, ", ", shape.channels, ", ", shape.area, "]");
    const std::size_t weights = std::size_t(shape.size()), groups = std::size_t(shape.channels);
    const std::vector<float> weight = random_floats(weights, 4), gated = random_floats(weights, 5);
    const std::vector<float> gate = random_floats(groups, 6, 0, 1), slope = random_floats(groups, 7, 0, 1);
    const std::vector<float> log_alpha = random_floats(groups, 8, -5, 5);
    const GuardedBuffer<float> on_weight(weight), on_gated(gated), on_gate(gate), on_slope(slope), on_alpha(log_alpha);
    GuardedBuffer<float> of_weight(weights), of_alpha(groups);
    gate_gradients(shape, kShape, on_gate.data(), on_slope.data(), on_alpha.data(), on_weight.data(), on_gated.data(),
                   strength.data(), {of_weight.data(), of_alpha.data()}, nullptr);
    std::vector<double> expected_weight, expected_alpha(groups, 0.0);
    for (std::size_t i = 0; i < weights; ++i) {
      expected_weight.push_back(double(gate[group_of(shape, i)]) * double(gated[i]));
      expected_alpha[group_of(shape, i)] += double(weight[i]) * double(gated[i]);
    }
    for (std::size_t g = 0; g < groups; ++g) {
      const double p = sigmoid(double(log_alpha[g]) + offset);
      expected_alpha[g] =
          expected_alpha[g] * double(slope[g]) + double(kStrength) * double(shape.per_channel()) * p * (1 - p);
    }
    CHECK(difference(of_weight.download(), expected_weight, 0x1p-23, 0) == "");
    CHECK(difference(of_alpha.download(), expected_alpha, 1e-5, 1e-5) == "");  // of up to 5000 terms below 1
    CHECK((of_weight.guards_intact() && of_alpha.guards_intact()));
  }
}

TEST_CASE("hard concrete: a shape that cannot be is refused") {
  CHECK_THROWS_AS(expected_gates(1, {.temperature = 0}, nullptr, nullptr, nullptr), InvalidArgument);
  CHECK_THROWS_AS(expected_gates(1, {.low = 0}, nullptr, nullptr, nullptr), InvalidArgument);
  CHECK_THROWS_AS(expected_gates(1, {.high = 1}, nullptr, nullptr, nullptr), InvalidArgument);
}

}  // namespace espalier::kernels
