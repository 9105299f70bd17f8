// The 2:4 convolution of sparse tensor cores against the dense one with zeros of the rounded operands, in double.
#include "kernels/sparse/two_four_conv2d.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "kernels/require.h"
#include "tests/support/narrow.h"
#include "tests/support/reference/sparse_conv2d.h"

namespace espalier::test {
namespace {

using kernels::Activation;
using kernels::bfloat16;
using kernels::Conv2dShape;
using kernels::ConvPool;
using kernels::half;
using kernels::PatchTap;

// Of every four channels of a tap two live at most, of T = float one of every two.
template <class T>
std::vector<float> obedient_weight(const Conv2dShape& s) {
  std::vector<float> weight = sparse_weight(s.filters, s.patch(), 0.3, 3);
  const std::int64_t taps = s.kernel_height * s.kernel_width, channels = s.channels_per_group();
  const std::int64_t group = sizeof(T) == 4 ? 2 : 4;
  for (std::int64_t i = 0; i < s.filters * taps; ++i) {
    const std::int64_t first = i / taps * s.patch() + i % taps;
    for (std::int64_t c = 0, kept = 0; c < channels; ++c) {
      if (c % group == 0) kept = 0;
      float& value = weight[std::size_t(first + c * taps)];
      if (value != 0.0f && kept++ >= group / 2) value = 0.0f;
    }
  }
  return weight;
}

template <class T>
struct Weight {
  Weight(const Conv2dShape& s, const std::vector<float>& weight)
      : layout{matrix_of(s).rows, matrix_of(s).columns},
        values(std::size_t(layout.values_size())),
        metadata(std::size_t(layout.metadata_size())),
        taps(std::size_t(kernels::two_four_conv2d_taps<T>(s))) {
    const GuardedBuffer<float> dense(weight);
    GuardedBuffer<float> matrix(std::size_t(matrix_of(s).size()));
    GuardedBuffer<std::int32_t> count(1);
    kernels::two_four_conv2d_arrange(s, dense.data(), matrix.data(), nullptr);
    kernels::two_four_tensor_encode(matrix_of(s), matrix.data(), values.data(), metadata.data(), count.data(), nullptr);
    kernels::two_four_conv2d_find_taps<T>(s, taps.data(), nullptr);
    CHECK(matrix.guards_intact());
    CHECK(taps.guards_intact());
    violations = count.download().front();
    layout.values = values.data(), layout.metadata = metadata.data();
  }
  static kernels::WeightShape matrix_of(const Conv2dShape& s) { return kernels::two_four_conv2d_matrix(s); }
  kernels::TwoFourTensorView<T> layout;
  GuardedBuffer<T> values;
  GuardedBuffer<std::uint32_t> metadata;
  GuardedBuffer<PatchTap> taps;
  std::int32_t violations = -1;
};

template <class T>
void check(const Conv2dShape& s, Activation activation = Activation::relu, ConvPool pool = ConvPool::none) {
  CAPTURE(s.batch);
  CAPTURE(s.channels);
  CAPTURE(s.height);
  CAPTURE(s.width);
  CAPTURE(s.filters);
  CAPTURE(s.kernel_height);
  CAPTURE(s.kernel_width);
  CAPTURE(s.stride);
  CAPTURE(s.padding);
  const auto as_read = [](const std::vector<float>& values) { return floats(rounded<T>(values)); };
  const auto x = random_floats(std::size_t(s.input_size()), 1);
  const auto bias = random_floats(std::size_t(s.filters), 2), weight = obedient_weight<T>(s);
  const auto expected = reference_sparse_conv2d(s, as_read(x), as_read(weight), bias, activation, pool);
  Weight<T> encoded(s, weight);
  CHECK(encoded.violations == 0);
  const GuardedBuffer<float> device_x(x), device_bias(bias);
  GuardedBuffer<T> operand(std::size_t(kernels::two_four_conv2d_operand_size(s)));
  GuardedBuffer<float> y(expected.size());
  kernels::two_four_conv2d<T>(s, encoded.layout, encoded.taps.data(), {.x = device_x.data(), .y = y.data()},
                              {device_bias.data(), activation}, operand.data(), nullptr, pool);
  CHECK(operand.guards_intact());
  CHECK(y.guards_intact());
  CHECK(difference(y.download(), expected, 1e-5, sum_tolerance(s.patch())) == "");
}

template <class T>
void check_all() {
  for (const std::int64_t channels : {1, 3, 8, 9, 20, 70}) check<T>({3, channels, 7, 9, 12, 3, 3, 1, 1});
  for (const std::int64_t filters : {1, 64, 65, 130}) check<T>({1, 10, 6, 5, filters, 3, 3});
  for (const std::int64_t stride : {1, 2, 3}) {
    for (const std::int64_t padding : {0, 1, 2}) check<T>({3, 6, 9, 8, 10, 3, 3, stride, padding});
  }
  check<T>({5, 12, 4, 4, 17, 1, 1});
  check<T>({1, 5, 11, 13, 9, 5, 2, 2, 1});
  check<T>({1, 4, 13, 12, 7, 3, 3, 2, 2, 2});
  check<T>({1, 2, 19, 18, 5, 15, 15, 1, 3});
  check<T>({2, 24, 5, 7, 192, 3, 3, 2, 1, 1, 3});
  check<T>({1, 16, 6, 5, 256, 2, 2, 1, 1, 1, 2});
}

TEST_CASE("two_four_conv2d equals the dense convolution of the rounded operands, in fp16") {
  if (!kernels::has_sparse_tensor_cores()) return;
  check_all<half>();
  check<half>({2, 9, 6, 6, 9, 3, 3, 1, 1}, Activation::leaky_relu);
  check<half>({2, 9, 6, 6, 9, 3, 3, 1, 1}, Activation::gelu);
}

TEST_CASE("two_four_conv2d equals the dense convolution of the rounded operands, in bf16 and tf32") {
  if (!kernels::has_sparse_tensor_cores()) return;
  check_all<bfloat16>();
  check_all<float>();
}

template <class T>
void check_pooled() {
  for (const std::int64_t size : {4, 7, 9}) {  // pixels that no window has, and tiles that end within an image
    for (const std::int64_t stride : {1, 2}) {
      check<T>({3, 12, size, size + 3, 10, 3, 3, stride, 1}, Activation::relu, ConvPool::halves);
    }
  }
  check<T>({2, 9, 18, 13, 130, 2, 3}, Activation::none, ConvPool::halves);
  check<T>({5, 6, 12, 5, 65, 3, 3, 1, 2, 2}, Activation::leaky_relu, ConvPool::halves);
}

TEST_CASE("two_four_conv2d stores the largest of each 2 x 2 outputs") {
  if (!kernels::has_sparse_tensor_cores()) return;
  check_pooled<half>();
  check_pooled<bfloat16>();
  check_pooled<float>();
}

TEST_CASE("two_four_conv2d: a NaN reaches no pixel that does not see it") {
  if (!kernels::has_sparse_tensor_cores()) return;
  const Conv2dShape s{1, 8, 5, 5, 3, 3, 3, 1, 1};
  std::vector<float> x(std::size_t(s.input_size()), 1.0f);
  x[0] = std::numeric_limits<float>::quiet_NaN();
  Weight<half> encoded(s, obedient_weight<half>(s));
  const GuardedBuffer<float> device_x(x);
  GuardedBuffer<half> operand(std::size_t(kernels::two_four_conv2d_operand_size(s)));
  GuardedBuffer<float> y(std::size_t(s.output_size()));
  kernels::two_four_conv2d<half>(s, encoded.layout, encoded.taps.data(), {.x = device_x.data(), .y = y.data()}, {},
                                 operand.data(), nullptr);
  const auto result = y.download();
  for (std::size_t i = 0; i < result.size(); ++i) {
    const std::size_t row = i / 5 % 5, column = i % 5;
    if (row > 1 || column > 1) CHECK(!std::isnan(result[i]));
  }
}

TEST_CASE("two_four_conv2d: groups of channels of a tap with too many nonzeros are counted") {
  const Conv2dShape s{1, 4, 3, 3, 2, 3, 3};
  CHECK(Weight<half>(s, std::vector<float>(std::size_t(s.weight_size()), 1.0f)).violations == 2 * 9);
  CHECK(Weight<float>(s, std::vector<float>(std::size_t(s.weight_size()), 1.0f)).violations == 2 * 9 * 2);
}

std::string refusal(const Conv2dShape& s, const kernels::TwoFourTensorView<half>& weight,
                    ConvPool pool = ConvPool::none) try {
  kernels::two_four_conv2d<half>(s, weight, nullptr, {}, {}, nullptr, nullptr, pool);
  return "none";
} catch (const InvalidArgument& error) {
  return error.what();
}

TEST_CASE("two_four_conv2d refuses groups, large kernels, other weights, and GPUs without sparse tensor cores") {
  CHECK(refusal({1, 8, 5, 5, 4, 3, 3, 1, 0, 1, 2}, {4, 72}) ==
        "two_four_conv2d: groups of 4 channels and 2 filters; it takes multiples of 8 and 64");
  CHECK(refusal({1, 8, 20, 20, 4, 16, 3}, {4, 384}) ==
        "two_four_conv2d: a kernel of 16 x 3; it takes 15 taps along an axis");
  CHECK(refusal({128, 8, 4096, 4096, 4, 3, 3}, {4, 72}).ends_with("more than 32 bits number; split the batch"));
  CHECK(refusal({1, 8, 5, 5, 4, 3, 3}, {4, 71}) == "two_four_conv2d: weight is 4 x 71, the shape wants 4 x 72");
  if (kernels::has_sparse_tensor_cores()) {
    CHECK(refusal({1, 8, 3, 5, 4, 3, 3}, {4, 72}, ConvPool::halves) ==
          "two_four_conv2d: pools outputs of 2 x 2 and more, behind none, relu and leaky_relu; these are 1 x 3");
    return;
  }
  CHECK(refusal({1, 8, 5, 5, 4, 3, 3}, {4, 72}) ==
        "two_four_conv2d: sparse tensor cores begin with compute capability 8.0; take csr_conv2d, which runs on "
        "ordinary cores");
}

}  // namespace
}  // namespace espalier::test
