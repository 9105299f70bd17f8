// The number formats: every 16-bit pattern there and back, rounding on and beside ties, what does not fit.
#include "kernels/precision.h"

#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "tests/support/close.h"
#include "tests/support/guarded_buffer.h"
#include "tests/support/sizes.h"

using namespace espalier;
using namespace espalier::kernels;
using namespace espalier::test;

namespace {

// Both halves of every word that holds a pattern twice, or beside a one.
template <class T>
void check_halves() {
  for (std::uint32_t pattern = 0; pattern < 0x10000; ++pattern) {
    const float expected = to_float(std::bit_cast<T>(std::uint16_t(pattern)));
    const std::uint32_t one = std::bit_cast<std::uint16_t>(from_float<T>(1.0f));
    const float low = low_half<T>(one << 16 | pattern), high = high_half<T>(pattern << 16 | one);
    const bool same = std::isnan(expected) ? std::isnan(low) && std::isnan(high) : low == expected && high == expected;
    if (!same) FAIL_CHECK("pattern ", pattern, " is ", expected, ", read as ", low, " and ", high);
  }
}

constexpr float kInfinity = std::numeric_limits<float>::infinity(), kNan = std::numeric_limits<float>::quiet_NaN();

template <class T>
std::vector<T> narrow(const std::vector<float>& x) {
  const GuardedBuffer<float> from(x);
  GuardedBuffer<T> to(x.size());
  convert(index_t(x.size()), from.data(), to.data(), nullptr);
  CHECK(to.guards_intact());
  return to.download();
}

template <class T>
std::vector<float> widen(const std::vector<T>& x) {
  const GuardedBuffer<T> from(x);
  GuardedBuffer<float> to(x.size());
  convert(index_t(x.size()), from.data(), to.data(), nullptr);
  CHECK(to.guards_intact());
  return to.download();
}

std::vector<float> to_tf32(const std::vector<float>& x) {
  const GuardedBuffer<float> from(x);
  GuardedBuffer<float> to(x.size());
  round_to_tf32(index_t(x.size()), from.data(), to.data(), nullptr);
  CHECK(to.guards_intact());
  return to.download();
}

template <class T>
std::uint16_t bits_of(const T& x) {
  std::uint16_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}

template <class T>
std::vector<T> all_patterns() {
  std::vector<T> values(65536);
  for (unsigned i = 0; i < values.size(); ++i) {
    const auto bits = static_cast<std::uint16_t>(i);
    values[i] = std::bit_cast<T>(bits);
  }
  return values;
}

// The value of a pattern with `fraction` bits of fraction, worked out by the definition of the format.
double decoded(unsigned bits, int fraction) {
  const int exponent_bits = 15 - fraction, bias = (1 << (exponent_bits - 1)) - 1;
  const int exponent = int(bits >> fraction) & ((1 << exponent_bits) - 1);
  const double mantissa = double(bits & ((1u << fraction) - 1)) / double(1 << fraction), sign = bits >> 15 ? -1 : 1;
  if (exponent == (1 << exponent_bits) - 1) return mantissa == 0 ? sign * HUGE_VAL : std::nan("");
  return exponent == 0 ? sign * std::ldexp(mantissa, 1 - bias) : sign * std::ldexp(1 + mantissa, exponent - bias);
}

template <class T>
void check_every_pattern(int fraction) {
  const std::vector<T> patterns = all_patterns<T>();
  const std::vector<float> values = widen(patterns);
  const std::vector<T> back = narrow<T>(values);
  int wrong_values = 0, changed = 0;
  for (unsigned i = 0; i < values.size(); ++i) {
    const double expected = decoded(i, fraction);
    const bool same = std::isnan(expected) ? std::isnan(values[i]) : double(values[i]) == expected;
    wrong_values += same ? 0 : 1;
    changed += bits_of(back[i]) == (std::isnan(expected) ? 0x7FFFu : i) ? 0 : 1;
  }
  CHECK(wrong_values == 0);
  CHECK(changed == 0);
}

// Between two neighbouring patterns: just below the middle, the middle (to the even one) and just above it.
template <class T>
void check_ties(unsigned first, unsigned last) {
  const std::vector<T> patterns = all_patterns<T>();
  std::vector<float> x;
  std::vector<unsigned> expected;
  for (unsigned i = first; i < last; i += 7) {
    const float low = to_float(patterns[i]), high = to_float(patterns[i + 1]), middle = low + (high - low) / 2;
    for (const float value : {std::nextafter(middle, low), middle, std::nextafter(middle, high)}) x.push_back(value);
    for (const unsigned bits : {i, i + (i & 1u), i + 1}) expected.push_back(bits);
  }
  const std::vector<T> rounded = narrow<T>(x);
  int wrong = 0;
  for (std::size_t i = 0; i < x.size(); ++i) wrong += bits_of(rounded[i]) == expected[i] ? 0 : 1;
  CHECK(wrong == 0);
}

}  // namespace

TEST_CASE("precision: a word's halves are the numbers that it holds") {
  check_halves<half>();
  check_halves<bfloat16>();
}

TEST_CASE("precision: every pattern of fp16 and bf16 widens exactly and comes back") {
  check_every_pattern<half>(10);
  check_every_pattern<bfloat16>(7);
}

TEST_CASE("precision: fp16 and bf16 round to the nearest, ties to even, subnormals too") {
  check_ties<half>(0, 0x7BFE);
  check_ties<bfloat16>(0, 0x7F7E);
}

TEST_CASE("precision: what is too large for a format becomes infinite, a NaN stays one") {
  const std::vector<float> x{65519.0f, 65520.0f, -65520.0f, 3.4e38f, kInfinity, -kInfinity, kNan, -0.0f};
  const std::vector<unsigned> in_half{0x7BFF, 0x7C00, 0xFC00, 0x7C00, 0x7C00, 0xFC00, 0x7FFF, 0x8000};
  const std::vector<unsigned> in_bfloat16{0x4780, 0x4780, 0xC780, 0x7F80, 0x7F80, 0xFF80, 0x7FFF, 0x8000};
  const std::vector<half> halves = narrow<half>(x);
  const std::vector<bfloat16> bfloats = narrow<bfloat16>(x);
  for (std::size_t i = 0; i < x.size(); ++i) {
    INFO("x ", x[i]);
    CHECK(bits_of(halves[i]) == in_half[i]);
    CHECK(bits_of(bfloats[i]) == in_bfloat16[i]);
  }
}

TEST_CASE("precision: tf32 keeps ten bits of fraction, ties away from zero") {
  const float step = 0x1p-10f;
  const std::vector<float> x{1.0f,      1 + step / 2, -1 - step / 2, 1 + 1.5f * step, 1 + 0.499f * step, 0x1p-149f,
                             kInfinity, -kInfinity,   2 - step / 4,  3.4028235e38f,   0x1.002p-126f,     -0.0f};
  const std::vector<float> expected{1.0f,      1 + step,   -1 - step, 1 + 2 * step, 1.0f,          0.0f,
                                    kInfinity, -kInfinity, 2.0f,      kInfinity,    0x1.004p-126f, -0.0f};
  CHECK(to_tf32(x) == expected);
  CHECK(std::isnan(to_tf32({kNan})[0]));
}

TEST_CASE("precision: every count, aligned and not, in place") {
  for (const index_t count : element_counts()) {
    const std::vector<float> x = random_floats(std::size_t(count), unsigned(count), -3, 3);
    const std::vector<half> halves = narrow<half>(x);
    CHECK(norm_error(widen(halves), x) < 0x1p-11);
    CHECK(norm_error(widen(narrow<bfloat16>(x)), x) < 0x1p-8);
    CHECK(norm_error(to_tf32(x), x) < 0x1p-11);
  }
  const std::vector<float> x = random_floats(1031, 1);
  GuardedBuffer<float> y(x);
  GuardedBuffer<half> z(1031);
  round_to_tf32(1030, y.data() + 1, y.data() + 1, nullptr);
  convert(1030, y.data() + 1, z.data() + 1, nullptr);
  convert(1030, z.data() + 1, y.data() + 1, nullptr);
  CHECK(y.guards_intact());
  CHECK(z.guards_intact());
  CHECK(y.download()[0] == x[0]);
  CHECK(norm_error(y.download(), x) < 0x1p-10);
}
