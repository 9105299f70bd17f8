// Comparisons that say where and by how much, and the reproducible inputs that tests draw.
#pragma once
#include <cmath>
#include <random>
#include <string>
#include <vector>

namespace espalier::test {

// "" when |a - b| <= absolute + relative * |b| everywhere, else the first offender in words. NaN is never close.
template <class A, class B>
std::string difference(const std::vector<A>& a, const std::vector<B>& b, double relative, double absolute) {
  if (a.size() != b.size()) return "sizes " + std::to_string(a.size()) + " and " + std::to_string(b.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double x = double(a[i]), y = double(b[i]);
    if (!(std::abs(x - y) <= absolute + relative * std::abs(y))) {
      return "[" + std::to_string(i) + "]: " + std::to_string(x) + ", expected " + std::to_string(y);
    }
  }
  return "";
}

// ||a - b|| / ||b||, infinite for unequal sizes or NaN.
template <class A, class B>
double norm_error(const std::vector<A>& a, const std::vector<B>& b) {
  if (a.size() != b.size()) return HUGE_VAL;
  double error = 0, norm = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    error += (double(a[i]) - double(b[i])) * (double(a[i]) - double(b[i]));
    norm += double(b[i]) * double(b[i]);
  }
  const double ratio = norm > 0 ? std::sqrt(error / norm) : std::sqrt(error);
  return std::isnan(ratio) ? HUGE_VAL : ratio;
}

// Uniform in [low, high), the same on every machine.
inline std::vector<float> random_floats(std::size_t count, unsigned seed, float low = -1, float high = 1) {
  std::mt19937 engine(seed);
  std::vector<float> values(count);
  for (float& value : values) value = low + (high - low) * float(engine() >> 8) * 0x1p-24f;
  return values;
}

}  // namespace espalier::test
