#include "core/tensor/tensor.h"

#include <doctest/doctest.h>

#include <cmath>
#include <concepts>

#include "core/device/error.h"
#include "core/tensor/initialise.h"

namespace espalier {
namespace {

template <class P>
concept HostReadable = requires(P p) {
  *p;
}
|| requires(P p) { p[0]; };

static_assert(std::convertible_to<DevicePointer<float>, float*>);
static_assert(!HostReadable<DevicePointer<float>>, "the host must not read through a device pointer");

TEST_CASE("shape: extents, size and negative axes") {
  const Shape shape{2, 3, 5};
  CHECK(shape.rank() == 3);
  CHECK(shape.size() == 30);
  CHECK(shape[-1] == 5);
  CHECK(shape.to_string() == "[2, 3, 5]");
  CHECK(shape.with_batch(7) == Shape{7, 3, 5});
  CHECK(Shape{}.size() == 1);
}

TEST_CASE("shape: impossible extents and axes are refused with their values") {
  CHECK_THROWS_WITH_AS(Shape({2, 0}), "shape [2, 0] has an extent below 1; every axis needs at least one element",
                       InvalidArgument);
  CHECK_THROWS_AS(Shape({std::int64_t(1) << 40, std::int64_t(1) << 40}), InvalidArgument);
  CHECK_THROWS_AS(Shape({2, 3})[2], InvalidArgument);
  CHECK_THROWS_AS(Shape({2, 3})[-3], InvalidArgument);
}

TEST_CASE("tensor: values survive the way to the device and back") {
  const std::vector<float> values{1, -2, 3.5f, 0, 5, 6};
  const Tensor tensor = Tensor::from({2, 3}, std::span<const float>(values));
  CHECK(tensor.to_host() == values);
  CHECK(tensor.dtype() == DType::f32);
  CHECK(tensor.bytes() == 24);
  const std::vector<std::uint8_t> labels{9, 0, 255};
  CHECK(Tensor::from({3}, labels).to_host_as<std::uint8_t>() == labels);
}

TEST_CASE("tensor: copies share memory, clones do not") {
  const Tensor tensor = Tensor::full({4}, 2.0f);
  const Tensor view = tensor.reshape({2, 2}), copy = tensor.clone();
  tensor.copy_from(Tensor::zeros({4}));
  CHECK(view.to_host() == std::vector<float>(4, 0.0f));
  CHECK(copy.to_host() == std::vector<float>(4, 2.0f));
}

TEST_CASE("tensor: misuse names shapes and types") {
  const Tensor tensor = Tensor::zeros({2, 3});
  CHECK_THROWS_WITH_AS(tensor.reshape({4}), "reshape: [2, 3] has 6 elements, [4] needs 4", InvalidArgument);
  CHECK_THROWS_WITH_AS(tensor.data<std::uint8_t>(), "tensor [2, 3] holds f32, not u8", InvalidArgument);
  CHECK_THROWS_AS(tensor.item(), InvalidArgument);
  CHECK_THROWS_AS(Tensor().data<float>(), InvalidArgument);
  CHECK_THROWS_AS(tensor.copy_from(Tensor::zeros({5})), InvalidArgument);
  CHECK_THROWS_AS(Tensor::from({3}, std::vector<float>{1, 2}), InvalidArgument);
}

TEST_CASE("initialise: bounds, spread and reproducibility") {
  const Shape weight{64, 32, 3, 3};
  CHECK(fan_in(weight) == 288);
  CHECK(fan_out(weight) == 576);
  const auto values = kaiming_uniform(weight, 7).to_host();
  CHECK(values == kaiming_uniform(weight, 7).to_host());
  CHECK(values != kaiming_uniform(weight, 8).to_host());
  const double bound = std::sqrt(6.0 / 288);
  double squares = 0;
  for (const float value : values) {
    CHECK(std::abs(value) <= bound);
    squares += double(value) * value;
  }
  CHECK(squares / double(values.size()) == doctest::Approx(2.0 / 288).epsilon(0.05));
  const auto normal = kaiming_normal(weight, 3).to_host();
  double variance = 0;
  for (const float value : normal) variance += double(value) * value;
  CHECK(variance / double(normal.size()) == doctest::Approx(2.0 / 288).epsilon(0.05));
  for (const float value : xavier_uniform({10, 20}, 1).to_host()) CHECK(std::abs(value) <= std::sqrt(6.0 / 30));
  CHECK_THROWS_AS(kaiming_uniform({5}, 1), InvalidArgument);
}

}  // namespace
}  // namespace espalier
