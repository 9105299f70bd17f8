#include "kernels/pool2d.h"

#include <doctest/doctest.h>

#include <limits>

#include "kernels/require.h"
#include "tests/support/close.h"
#include "tests/support/guarded_buffer.h"
#include "tests/support/reference/pool2d.h"

using namespace espalier;
using namespace espalier::kernels;
using namespace espalier::test;

namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr double kEpsilon = 0x1p-24;

// planes, height, width, window height and width, stride, padding: 2x2 at stride 2 around every vector width, then
// overlapping, gapped, padded, oblong and whole-image windows.
std::vector<Pool2dShape> shapes() {
  std::vector<Pool2dShape> list;
  for (index_t width : {2, 3, 7, 8, 9, 15, 16, 17, 26, 31, 32, 33, 35, 64, 67})
    list.push_back({3, 5, width, 2, 2, 2, 0});
  for (index_t width : {3, 4, 6, 11, 18, 19, 20, 33, 41}) {
    for (index_t stride : {1, 2, 3}) {
      for (index_t padding : {0, 1, 2}) list.push_back({2, 7, width, 3, 3, stride, padding});
    }
  }
  for (const Pool2dShape& shape : {Pool2dShape{1, 1, 1, 1, 1, 1, 0},
                                   {2, 4, 5, 1, 1, 2, 0},
                                   {5, 9, 23, 2, 5, 2, 1},
                                   {5, 23, 9, 5, 2, 1, 1},
                                   {3, 8, 8, 8, 8, 1, 0},
                                   {2, 20, 21, 15, 15, 2, 7},
                                   {2, 10, 11, 2, 2, 3, 0},
                                   {1, 3, 50, 3, 17, 2, 2},
                                   {611, 6, 6, 2, 2, 2, 0},
                                   {1, 2, 1500, 2, 2, 2, 0},
                                   {300, 13, 11, 3, 3, 2, 1}}) {
    list.push_back(shape);
  }
  return list;
}

std::string words(const Pool2dShape& s) {
  std::string text = "planes, height, width, window, stride, padding:";
  for (index_t n : {s.planes, s.height, s.width, s.window_height, s.window_width, s.stride, s.padding}) {
    text += " " + std::to_string(n);
  }
  return text;
}

struct MaxPooled {
  std::vector<float> y;
  std::vector<std::uint8_t> argmax;
};

MaxPooled max_pool(const Pool2dShape& shape, const std::vector<float>& host) {
  const GuardedBuffer<float> x(host);
  GuardedBuffer<float> y{std::size_t(shape.output_size())};
  GuardedBuffer<std::uint8_t> argmax{std::size_t(shape.output_size())};
  max_pool2d_forward(shape, x.data(), y.data(), argmax.data(), nullptr);
  CHECK(y.guards_intact());
  CHECK(argmax.guards_intact());
  return {y.download(), argmax.download()};
}

std::vector<float> max_pool_backward(const Pool2dShape& shape, const std::vector<std::uint8_t>& places,
                                     const std::vector<float>& host) {
  const GuardedBuffer<std::uint8_t> argmax(places);
  const GuardedBuffer<float> dy(host);
  GuardedBuffer<float> dx{std::size_t(shape.input_size())};
  max_pool2d_backward(shape, argmax.data(), dy.data(), dx.data(), nullptr);
  CHECK(dx.guards_intact());
  return dx.download();
}

// Values from a small set, so that equal neighbours are common.
std::vector<float> inputs_with_ties(std::size_t count) {
  std::vector<float> values = random_floats(count, 7);
  for (float& value : values) value = std::floor(value * 4) / 4;
  return values;
}

}  // namespace

TEST_CASE("max_pool2d: values and places equal plain loops for every shape, ties included") {
  for (const Pool2dShape& shape : shapes()) {
    INFO(words(shape));
    const std::vector<float> x = inputs_with_ties(std::size_t(shape.input_size()));
    const PooledInDouble expected = max_pool2d_reference(shape, x);
    const MaxPooled pooled = max_pool(shape, x);
    CHECK(difference(pooled.y, expected.value, 0, 0) == "");
    CHECK(difference(pooled.argmax, expected.argmax, 0, 0) == "");
  }
}

TEST_CASE("max_pool2d: backward gives each gradient to the chosen element, summed where windows overlap") {
  for (const Pool2dShape& shape : shapes()) {
    INFO(words(shape));
    const std::vector<float> x = inputs_with_ties(std::size_t(shape.input_size()));
    const std::vector<float> dy = random_floats(std::size_t(shape.output_size()), 3);
    const PooledInDouble pooled = max_pool2d_reference(shape, x);
    const std::vector<std::uint8_t> places(pooled.argmax.begin(), pooled.argmax.end());
    const double terms = double(shape.window_height * shape.window_width);
    CHECK(difference(max_pool_backward(shape, places, dy), max_pool2d_backward_reference(shape, pooled.argmax, dy), 0,
                     terms * terms * kEpsilon) == "");
  }
}

TEST_CASE("max_pool2d: without a place for the argmax the values are the same") {
  const Pool2dShape shape{3, 9, 35, 2, 2, 2, 0};
  const std::vector<float> host = random_floats(std::size_t(shape.input_size()), 5);
  const GuardedBuffer<float> x(host);
  GuardedBuffer<float> y{std::size_t(shape.output_size())};
  max_pool2d_forward(shape, x.data(), y.data(), nullptr, nullptr);
  CHECK(y.download() == max_pool(shape, host).y);
}

TEST_CASE("max_pool2d: the first NaN of a window wins, the first of equal zeros wins, minus infinity is a value") {
  for (index_t width : {4, 40}) {
    for (index_t stride : {1, 2}) {
      const Pool2dShape shape{1, 2, width, 2, 2, stride, 0};
      INFO(words(shape));
      std::vector<float> x(std::size_t(shape.input_size()), -std::numeric_limits<float>::infinity());
      const MaxPooled lowest = max_pool(shape, x);
      CHECK(lowest.y == std::vector<float>(std::size_t(shape.output_size()), x[0]));
      CHECK(lowest.argmax == std::vector<std::uint8_t>(std::size_t(shape.output_size()), 0));
      x[0] = 5, x[1] = kNan, x[std::size_t(width)] = kNan, x[std::size_t(width) + 1] = 9;
      const MaxPooled broken = max_pool(shape, x);
      CHECK(std::isnan(broken.y[0]));
      CHECK(int(broken.argmax[0]) == 1);
      x[0] = -0.0f, x[1] = 0.0f, x[std::size_t(width)] = 0.0f, x[std::size_t(width) + 1] = -0.0f;
      const MaxPooled zeros = max_pool(shape, x);
      CHECK(std::signbit(zeros.y[0]));
      CHECK(int(zeros.argmax[0]) == 0);
    }
  }
}

TEST_CASE("average_pool2d: forward and backward equal plain loops for every shape and divisor") {
  for (const Pool2dShape& shape : shapes()) {
    for (AverageDivisor divisor : {AverageDivisor::window, AverageDivisor::inside}) {
      INFO(words(shape), ", divisor ", int(divisor));
      const std::vector<float> host = random_floats(std::size_t(shape.input_size()), 9);
      const std::vector<float> host_dy = random_floats(std::size_t(shape.output_size()), 10);
      const GuardedBuffer<float> x(host), dy(host_dy);
      GuardedBuffer<float> y{std::size_t(shape.output_size())}, dx{std::size_t(shape.input_size())};
      average_pool2d_forward(shape, divisor, x.data(), y.data(), nullptr);
      average_pool2d_backward(shape, divisor, dy.data(), dx.data(), nullptr);
      const double terms = double(shape.window_height * shape.window_width);  // of magnitude 1 / divisor in a sum
      CHECK(difference(y.download(), average_pool2d_reference(shape, divisor, host), 0, (terms + 3) * kEpsilon) == "");
      CHECK(difference(dx.download(), average_pool2d_backward_reference(shape, divisor, host_dy), 0,
                       (terms + 3) * kEpsilon) == "");
      CHECK(y.guards_intact());
      CHECK(dx.guards_intact());
    }
  }
}

TEST_CASE("pool2d: a batch without images launches nothing; a window that cannot be is refused in words") {
  const Pool2dShape empty{0, 4, 4, 2, 2, 2, 0};
  max_pool2d_forward(empty, nullptr, nullptr, nullptr, nullptr);
  average_pool2d_backward(empty, AverageDivisor::inside, nullptr, nullptr, nullptr);
  const auto refuses = [](const Pool2dShape& shape) {
    CHECK_THROWS_AS(max_pool2d_forward(shape, nullptr, nullptr, nullptr, nullptr), InvalidArgument);
    CHECK_THROWS_AS(average_pool2d_forward(shape, AverageDivisor::window, nullptr, nullptr, nullptr), InvalidArgument);
  };
  refuses({1, 4, 4, 5, 2, 1, 0});
  refuses({1, 4, 4, 2, 2, 0, 0});
  refuses({1, 4, 4, 2, 2, 1, 2});
  refuses({index_t(1) << 32, 4, 4, 2, 2, 2, 0});
  CHECK_THROWS_WITH_AS(
      max_pool2d_forward({1, 20, 20, 16, 16, 1, 0}, nullptr, nullptr, nullptr, nullptr),
      "max_pool2d_forward: a window of 256 elements; at most 255 fit the stored byte, pool in two steps",
      InvalidArgument);
}
