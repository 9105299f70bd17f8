// Shared and scaled values: how near they stay to what they stand for.
#include "core/train/compressed/quantise.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <set>

#include "tests/support/close.h"

using namespace espalier::compressed;

namespace {

double mean_square(const std::vector<float>& values, const SharedValues& shared) {
  double sum = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    sum += std::pow(double(values[i]) - double(shared.codebook[shared.codes[i]]), 2);
  }
  return sum / double(values.size());
}

}  // namespace

TEST_CASE("kmeans: few different values are kept as they are") {
  const std::vector<float> values{0.5f, -2.0f, 0.5f, 3.0f, -2.0f};
  const SharedValues shared = kmeans(values, 2);
  CHECK(shared.codebook == std::vector<float>{-2.0f, 0.5f, 3.0f});
  CHECK(mean_square(values, shared) == 0.0);
  CHECK(kmeans(std::vector<float>{7.0f}, 1).codebook.size() == 1);
  CHECK(kmeans({}, 3).codes.empty());
}

TEST_CASE("kmeans: each value has its nearest centroid, each centroid is the mean of its values") {
  const std::vector<float> values = espalier::test::random_floats(3000, 1);
  for (const int bits : {1, 3, 5, 8}) {
    const SharedValues shared = kmeans(values, bits);
    CHECK(shared.codebook.size() <= std::size_t(1) << bits);
    CHECK(std::is_sorted(shared.codebook.begin(), shared.codebook.end()));
    std::vector<double> sums(shared.codebook.size(), 0.0), counts = sums;
    for (std::size_t i = 0; i < values.size(); ++i) {
      const float chosen = std::fabs(values[i] - shared.codebook[shared.codes[i]]);
      for (const float centroid : shared.codebook) CHECK(chosen <= std::fabs(values[i] - centroid) + 1e-7f);
      sums[shared.codes[i]] += double(values[i]), counts[shared.codes[i]] += 1;
    }
    for (std::size_t c = 0; c < sums.size(); ++c) {
      if (counts[c] > 0) CHECK(sums[c] / counts[c] == doctest::Approx(double(shared.codebook[c])).epsilon(1e-3));
    }
  }
}

TEST_CASE("kmeans: four bits serve a bell curve better than the 16 even steps they start from") {
  std::mt19937 engine(1);
  std::normal_distribution<float> draw(0.0f, 0.1f);
  std::vector<float> values(20'000);
  for (float& value : values) value = draw(engine);
  const auto [low, high] = std::minmax_element(values.begin(), values.end());
  const double step = (double(*high) - double(*low)) / 15;
  CHECK(mean_square(values, kmeans(values, 4)) < 0.7 * step * step / 12);
}

TEST_CASE("kmeans: every shared value is used where pruning has left a wide gap around zero") {
  std::vector<float> values = espalier::test::random_floats(3000, 3);
  for (float& value : values) value = value < 0 ? 0.05f * value - 1.0f : 0.05f * value + 1.0f;
  const SharedValues shared = kmeans(values, 6);
  CHECK(shared.codebook.size() == 64);
  CHECK(std::set<std::uint32_t>(shared.codes.begin(), shared.codes.end()).size() == 64);
  CHECK(mean_square(values, shared) < std::pow(0.1 / 64, 2) / 6);
}

TEST_CASE("int8: within half a step, zero and the largest exact") {
  std::vector<float> values = espalier::test::random_floats(1000, 2);
  values.insert(values.end(), {0.0f, 1.5f, -1.5f});
  const ScaledValues scaled = scaled_to_int8(values);
  CHECK(scaled.scale == doctest::Approx(1.5 / 127));
  for (std::size_t i = 0; i < values.size(); ++i) {
    CHECK(scaled.codes[i] < ScaledValues::kCodes);
    const float value = ScaledValues::value(scaled.codes[i], scaled.scale);
    CHECK(std::fabs(value - values[i]) <= 0.5001f * scaled.scale);
  }
  CHECK(ScaledValues::value(scaled.codes[1000], scaled.scale) == 0.0f);
  CHECK(scaled_to_int8(std::vector<float>(3, 0.0f)).codes == std::vector<std::uint32_t>(3, ScaledValues::kZero));
}
