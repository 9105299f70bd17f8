#include "kernels/elementwise.h"

#include <doctest/doctest.h>

#include <bit>
#include <functional>
#include <limits>

#include "tests/support/close.h"
#include "tests/support/guarded_buffer.h"
#include "tests/support/sizes.h"

using namespace espalier;
using namespace espalier::kernels;
using namespace espalier::test;

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity(), kNan = std::numeric_limits<float>::quiet_NaN();
constexpr double kRounding = 0x1p-23;  // one product and one sum

std::vector<std::uint8_t> random_bytes(std::size_t count, unsigned seed) {
  std::vector<std::uint8_t> bytes;
  for (float value : random_floats(count, seed, 0, 256)) bytes.push_back(std::uint8_t(value));
  return bytes;
}

// Runs `launch` on y = initial between guard zones and compares with expected(i) in double.
void check(const char* what, const std::vector<float>& initial, const std::function<void(float* y)>& launch,
           const std::function<double(std::size_t i)>& expected) {
  INFO(what, ", ", initial.size(), " elements");
  GuardedBuffer<float> y(initial);
  launch(y.data());
  std::vector<double> values(initial.size());
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = expected(i);
  CHECK(difference(y.download(), values, kRounding, kRounding) == "");
  CHECK(y.guards_intact());
}

template <class From, class To>
void check_convert(const std::vector<From>& host) {
  const GuardedBuffer<From> x(host);
  GuardedBuffer<To> y(host.size());
  convert(index_t(host.size()), x.data(), y.data(), nullptr);
  std::vector<To> expected;
  for (From value : host) expected.push_back(static_cast<To>(value));
  CHECK(y.download() == expected);
  CHECK(y.guards_intact());
}

int nonfinite(const std::vector<float>& host, int before = 0) {
  const GuardedBuffer<float> x(host);
  GuardedBuffer<int> found(std::vector<int>{before});
  any_nonfinite(index_t(host.size()), x.data(), found.data(), nullptr);
  CHECK(found.guards_intact());
  return found.download()[0];
}

}  // namespace

TEST_CASE("elementwise: arithmetic equals plain loops for every size") {
  for (index_t n : element_counts()) {
    const std::vector<float> a = random_floats(std::size_t(n), 1), b = random_floats(std::size_t(n), 2);
    const GuardedBuffer<float> da(a), db(b);
    const auto in = [](const std::vector<float>& v) { return [&v](std::size_t i) { return double(v[i]); }; };
    const auto x = in(a);
    const auto z = in(b);
    check(
        "fill", b, [&](float* y) { fill(n, 2.5f, y, nullptr); }, [](std::size_t) { return 2.5; });
    check(
        "scale", b, [&](float* y) { scale(n, -3, da.data(), y, nullptr); }, [&](std::size_t i) { return -3 * x(i); });
    check(
        "scale in place", b, [&](float* y) { scale(n, -3, y, y, nullptr); }, [&](std::size_t i) { return -3 * z(i); });
    check(
        "add", a, [&](float* y) { add(n, da.data(), db.data(), y, nullptr); },
        [&](std::size_t i) { return x(i) + z(i); });
    check(
        "add_in_place", b, [&](float* y) { add_in_place(n, da.data(), y, nullptr); },
        [&](std::size_t i) { return x(i) + z(i); });
    check(
        "axpy", b, [&](float* y) { axpy(n, 0.3f, da.data(), y, nullptr); },
        [&](std::size_t i) { return z(i) + double(0.3f) * x(i); });
    check(
        "multiply", a, [&](float* y) { multiply(n, da.data(), db.data(), y, nullptr); },
        [&](std::size_t i) { return x(i) * z(i); });
  }
}

TEST_CASE("apply_keep: what is not kept becomes +0 bit for bit, what is kept does not change") {
  for (index_t n : element_counts()) {
    std::vector<float> host = random_floats(std::size_t(n), 3);
    std::vector<std::uint8_t> host_keep = random_bytes(std::size_t(n), 4);
    for (std::size_t i = 0; i < host.size(); ++i) {
      host_keep[i] = i % 5 == 0 ? host_keep[i] % 2 : i % 2;
      if (i % 7 == 0) host[i] = i % 3 == 0 ? -0.0f : i % 3 == 1 ? kNan : -kInfinity;
    }
    const GuardedBuffer<std::uint8_t> keep(host_keep);
    GuardedBuffer<float> x(host), y(host.size());
    apply_keep(n, keep.data(), x.data(), y.data(), nullptr);
    apply_keep(n, keep.data(), x.data(), x.data(), nullptr);
    std::size_t wrong = 0;
    for (const std::vector<float>& result : {x.download(), y.download()}) {
      for (std::size_t i = 0; i < host.size(); ++i) {
        const float expected = host_keep[i] != 0 ? host[i] : 0.0f;
        wrong += std::bit_cast<std::uint32_t>(result[i]) != std::bit_cast<std::uint32_t>(expected);
      }
    }
    CHECK(wrong == 0);
    CHECK(x.guards_intact());
    CHECK(y.guards_intact());
  }
}

TEST_CASE("convert: every pair of element types keeps the value") {
  for (index_t count : element_counts()) {
    INFO(count, " elements");
    const auto n = std::size_t(count);
    const std::vector<std::uint8_t> bytes = random_bytes(n, 5);
    const std::vector<float> numbers = random_floats(n, 6, 0, 255);
    check_convert<std::uint8_t, float>(bytes);
    check_convert<std::uint8_t, std::int32_t>(bytes);
    check_convert<std::uint8_t, std::int64_t>(bytes);
    check_convert<std::int32_t, float>({bytes.begin(), bytes.end()});
    check_convert<std::int64_t, float>({bytes.begin(), bytes.end()});
    check_convert<std::int32_t, std::int64_t>(std::vector<std::int32_t>(n, -70000));
    check_convert<std::int64_t, std::int32_t>(std::vector<std::int64_t>(n, -70000));
    check_convert<float, std::uint8_t>(numbers);
    check_convert<float, std::int32_t>(numbers);
    check_convert<float, std::int64_t>(numbers);
  }
}

TEST_CASE("add_bias: each channel gets its own, after dense layers and convolutions") {
  for (const PlanesShape& shape : {PlanesShape{1, 1, 1},
                                   {1, 10, 1},
                                   {128, 10, 1},
                                   {129, 65, 1},
                                   {3, 5000, 1},
                                   {2, 3, 2},
                                   {5, 7, 49},
                                   {3, 33, 169},
                                   {2, 5, 676},
                                   {300, 3, 4},
                                   {1, 1, 9001}}) {
    INFO("[", shape.batch, ", ", shape.channels, ", ", shape.area, "]");
    const std::vector<float> bias = random_floats(std::size_t(shape.channels), 7);
    const std::vector<float> host = random_floats(std::size_t(shape.size()), 8);
    const GuardedBuffer<float> device_bias(bias);
    check(
        "add_bias", host, [&](float* y) { add_bias(shape, device_bias.data(), y, nullptr); },
        [&](std::size_t i) {
          return double(host[i]) + double(bias[i / std::size_t(shape.area) % std::size_t(shape.channels)]);
        });
  }
}

TEST_CASE("any_nonfinite: finds one NaN or infinity anywhere, and keeps what was found before") {
  for (index_t n : element_counts()) {
    INFO(n, " elements");
    std::vector<float> x = random_floats(std::size_t(n), 9, -1e30f, 1e30f);
    CHECK(nonfinite(x) == 0);
    CHECK(nonfinite(x, 1) == 1);
    for (std::size_t place : {std::size_t(0), x.size() / 2, x.size() - 1}) {
      for (float bad : {kNan, kInfinity, -kInfinity}) {
        std::vector<float> broken = x;
        broken[place] = bad;
        CHECK(nonfinite(broken) == 1);
      }
    }
  }
}

TEST_CASE("elementwise: no elements launch nothing") {
  fill(0, 1, nullptr, nullptr);
  add(0, nullptr, nullptr, nullptr, nullptr);
  add_bias({0, 3, 4}, nullptr, nullptr, nullptr);
  any_nonfinite(0, nullptr, nullptr, nullptr);
  convert<std::uint8_t, float>(0, nullptr, nullptr, nullptr);
}
