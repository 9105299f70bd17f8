// Proximal steps against their formulae in double.
#include "kernels/proximal.h"

#include <doctest/doctest.h>

#include <bit>
#include <cmath>

#include "kernels/require.h"
#include "tests/support/close.h"
#include "tests/support/guarded_buffer.h"

namespace espalier::kernels {
namespace {

using namespace espalier::test;

constexpr float kRate = 0.25f, kStrength = 0.8f;  // a step of 0.2
constexpr double kTolerance = 4 * 0x1p-24;        // one rounding of the step, one of the result, twice for safety

TEST_CASE("proximal_l1: towards zero by rate * strength, and exactly +0 within it") {
  const GuardedBuffer<float> rate(std::vector<float>{kRate});
  for (const std::size_t count : {1, 31, 257, 4099, 20000}) {
    const std::vector<float> before = random_floats(count, unsigned(count));
    GuardedBuffer<float> w(before), other(before);
    const Penalised tensors[] = {{w.data(), index_t(count)}, {other.data(), index_t(count)}};
    proximal_l1(tensors, rate.data(), kStrength, nullptr);
    std::vector<double> expected;
    for (const float value : before) {
      expected.push_back(
          std::copysign(std::max(0.0, std::abs(double(value)) - double(kRate) * double(kStrength)), value));
    }
    const std::vector<float> after = w.download();
    CHECK(difference(after, expected, kTolerance, kTolerance) == "");
    CHECK(other.download() == after);
    for (const float value : after) CHECK((value != 0.0f || std::bit_cast<std::uint32_t>(value) == 0u));
    CHECK(w.guards_intact());
  }
}

TEST_CASE("proximal_l2: divides by 1 + rate * strength, all or the chosen") {
  const GuardedBuffer<float> rate(std::vector<float>{kRate}), strength(std::vector<float>{kStrength});
  for (const std::size_t count : {1, 33, 5000}) {
    const std::vector<float> before = random_floats(count, 3);
    std::vector<std::uint8_t> chosen;
    for (std::size_t i = 0; i < count; ++i) chosen.push_back(i % 3 == 0);
    GuardedBuffer<float> all(before), some(before);
    const GuardedBuffer<std::uint8_t> on_chosen(chosen);
    const ChosenWeights tensors[] = {{all.data(), nullptr, index_t(count)},
                                     {some.data(), on_chosen.data(), index_t(count)}};
    proximal_l2(tensors, rate.data(), strength.data(), nullptr);
    std::vector<double> of_all, of_some;
    for (std::size_t i = 0; i < count; ++i) {
      of_all.push_back(double(before[i]) / (1.0 + double(kRate) * double(kStrength)));
      of_some.push_back(chosen[i] ? of_all.back() : double(before[i]));
    }
    CHECK(difference(all.download(), of_all, kTolerance, kTolerance) == "");
    CHECK(difference(some.download(), of_some, kTolerance, kTolerance) == "");
    CHECK(all.guards_intact());
  }
}

TEST_CASE("proximal_group_lasso: scales each group down, and makes those of small norm zero") {
  const GuardedBuffer<float> rate(std::vector<float>{kRate});
  for (const PlanesShape shape : {PlanesShape{1, 5, 7}, PlanesShape{1, 3, 1}, PlanesShape{6, 4, 9},
                                  PlanesShape{3, 2, 1}, PlanesShape{1, 33, 257}, PlanesShape{2, 3, 2500}}) {
    INFO("[", shape.batch, ", ", shape.channels, ", ", shape.area, "]");
    std::vector<float> before = random_floats(std::size_t(shape.size()), 5);
    for (std::size_t i = 0; i < before.size(); ++i) {  // every other group is small
      if (std::int64_t(i) / shape.area % shape.channels % 2 == 1) before[i] *= 0.1f;
    }
    std::vector<double> norms(std::size_t(shape.channels), 0.0), expected;
    const auto group_of = [&](std::size_t i) { return std::size_t(std::int64_t(i) / shape.area % shape.channels); };
    for (std::size_t i = 0; i < before.size(); ++i) norms[group_of(i)] += std::pow(double(before[i]), 2);
    const double step = double(kRate) * double(kStrength) * std::sqrt(double(shape.per_channel()));
    for (std::size_t i = 0; i < before.size(); ++i) {
      expected.push_back(double(before[i]) * std::max(0.0, 1.0 - step / std::sqrt(norms[group_of(i)])));
    }
    GuardedBuffer<float> w(before);
    proximal_group_lasso(shape, rate.data(), kStrength, w.data(), nullptr);
    CHECK(difference(w.download(), expected, 1e-5, 1e-6) == "");  // 1 - step / norm cancels some digits
    CHECK(w.guards_intact());
  }
}

TEST_CASE("proximal_pull: towards the target, and a zero whose target is zero stays +0") {
  const GuardedBuffer<float> rate(std::vector<float>{kRate}), strength(std::vector<float>{kStrength});
  const double step = double(kRate) * double(kStrength);
  for (const std::size_t count : {1, 31, 257, 4099, 20000}) {
    std::vector<float> before = random_floats(count, 3), target = random_floats(count, 4);
    for (std::size_t i = 0; i < count; i += 5) before[i] = target[i] = 0.0f;
    GuardedBuffer<float> w(before), other(before);
    const GuardedBuffer<float> on_target(target);
    const PulledWeights tensors[] = {{w.data(), on_target.data(), index_t(count)},
                                     {other.data(), on_target.data(), index_t(count)}};
    proximal_pull(tensors, rate.data(), strength.data(), nullptr);
    std::vector<double> expected;
    for (std::size_t i = 0; i < count; ++i) {
      expected.push_back((double(before[i]) + step * double(target[i])) / (1.0 + step));
    }
    const std::vector<float> after = w.download();
    CHECK(difference(after, expected, kTolerance, kTolerance) == "");
    CHECK(other.download() == after);
    for (std::size_t i = 0; i < count; i += 5) CHECK(std::bit_cast<std::uint32_t>(after[i]) == 0u);
    CHECK(w.guards_intact());
  }
}

TEST_CASE("split_projection: what is kept is the target, what falls goes to the dual and is pushed away, bit for bit") {
  for (const std::size_t count : {1, 31, 257, 4099}) {
    const std::vector<float> v = random_floats(count, 9);
    std::vector<std::uint8_t> keep;
    for (std::size_t i = 0; i < count; ++i) keep.push_back(i % 3 == 0);
    GuardedBuffer<float> dual(v), target(count);
    const GuardedBuffer<std::uint8_t> flags(keep);
    split_projection(index_t(count), flags.data(), dual.data(), target.data(), nullptr);
    const std::vector<float> duals = dual.download(), targets = target.download();
    for (std::size_t i = 0; i < count; ++i) {
      const float z = keep[i] ? v[i] : 0.0f;
      CHECK(duals[i] == v[i] - z);
      CHECK(targets[i] == z - duals[i]);
    }
    CHECK((dual.guards_intact() && target.guards_intact()));
  }
}

TEST_CASE("proximal: a strength that cannot be is refused") {
  CHECK_THROWS_AS(proximal_l1({}, nullptr, -1.0f, nullptr), InvalidArgument);
  CHECK_THROWS_AS(proximal_group_lasso({}, nullptr, NAN, nullptr, nullptr), InvalidArgument);
}

}  // namespace
}  // namespace espalier::kernels
