// The convolution of weights in blocks on tensor cores against the dense one with zeros of the rounded operands, in
// double; and its encoding.
#include "kernels/sparse/block_conv2d.h"

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
using kernels::FragmentBlocksView;
using kernels::FragmentStep;
using kernels::half;
using kernels::PatchTap;
using kernels::WeightShape;

// Of the blocks of block filters x block channels of a tap so many, at random, are zero.
std::vector<float> blocked_weight(const Conv2dShape& s, std::int64_t block, double sparsity) {
  std::vector<float> weight = random_floats(std::size_t(s.weight_size()), 3);
  const std::int64_t taps = s.kernel_height * s.kernel_width, across = (s.channels_per_group() + block - 1) / block;
  const std::vector<float> chosen = random_floats(std::size_t((s.filters + block - 1) / block * across * taps), 4);
  for (std::int64_t i = 0; i < s.weight_size(); ++i) {
    const std::int64_t filter = i / s.patch(), channel = i / taps % s.channels_per_group();
    const float chance = chosen[std::size_t((filter / block * across + channel / block) * taps + i % taps)];
    if ((chance + 1) / 2 < sparsity) weight[std::size_t(i)] = 0.0f;
  }
  return weight;
}

template <class T>
struct Encoded {
  Encoded(const WeightShape& shape, std::int64_t tile, const GuardedBuffer<float>& matrix)
      : layout{.rows = shape.rows, .columns = shape.columns, .tile = tile},
        masks(std::size_t(layout.tiles() * layout.fragment_columns())),
        step_offsets(std::size_t(layout.tiles() + 1)),
        fragment_offsets(std::size_t(layout.tiles() + 1)) {
    kernels::fragment_blocks_count<T>(layout, matrix.data(), masks.data(), step_offsets.data(), fragment_offsets.data(),
                                      nullptr);
    layout.step_offsets = step_offsets.data();
    layout.steps = step_offsets.download().back(), layout.fragments = fragment_offsets.download().back();
    step_columns = GuardedBuffer<std::int32_t>(std::size_t(2 * layout.steps));
    step_parts = GuardedBuffer<FragmentStep>(std::size_t(layout.steps));
    values = GuardedBuffer<T>(std::size_t(layout.fragments * layout.kFragment));
    kernels::fragment_blocks_fill(layout, matrix.data(), masks.data(), fragment_offsets.data(), step_columns.data(),
                                  step_parts.data(), values.data(), nullptr);
    layout.step_columns = step_columns.data(), layout.step_parts = step_parts.data(), layout.values = values.data();
    for (const bool intact : {masks.guards_intact(), step_offsets.guards_intact(), fragment_offsets.guards_intact(),
                              step_columns.guards_intact(), step_parts.guards_intact(), values.guards_intact()}) {
      CHECK(intact);
    }
  }
  FragmentBlocksView<T> layout;
  GuardedBuffer<std::uint8_t> masks;
  GuardedBuffer<std::int32_t> step_offsets, fragment_offsets, step_columns{0};
  GuardedBuffer<FragmentStep> step_parts{0};
  GuardedBuffer<T> values{0};
};

template <class T>
struct Weight {
  explicit Weight(const Conv2dShape& s, const std::vector<float>& weight, std::int64_t tile = 64)
      : encoded(matrix_of(s), tile, arranged(s, weight)) {
    taps = GuardedBuffer<PatchTap>(std::size_t(kernels::block_conv2d_taps(encoded.layout)));
    kernels::block_conv2d_find_taps(s, encoded.layout, taps.data(), nullptr);
    CHECK(taps.guards_intact());
  }
  static WeightShape matrix_of(const Conv2dShape& s) { return kernels::block_conv2d_matrix<T>(s); }
  static GuardedBuffer<float> arranged(const Conv2dShape& s, const std::vector<float>& weight) {
    const GuardedBuffer<float> dense(weight);
    GuardedBuffer<float> matrix(std::size_t(matrix_of(s).size()));
    kernels::block_conv2d_arrange<T>(s, dense.data(), matrix.data(), nullptr);
    CHECK(matrix.guards_intact());
    return matrix;
  }
  Encoded<T> encoded;
  GuardedBuffer<PatchTap> taps{0};
};

struct Run {
  Activation activation = Activation::relu;
  ConvPool pool = ConvPool::none;
  double sparsity = 0.6;
  std::int64_t block = 16, tile = 64;
};

template <class T>
void check_tile(const Conv2dShape& s, const Run& run) {
  CAPTURE(run.tile);
  CAPTURE(s.batch);
  CAPTURE(s.channels);
  CAPTURE(s.height);
  CAPTURE(s.width);
  CAPTURE(s.filters);
  CAPTURE(s.kernel_height);
  CAPTURE(s.stride);
  CAPTURE(s.padding);
  const auto as_read = [](const std::vector<float>& values) { return floats(rounded<T>(values)); };
  const auto x = random_floats(std::size_t(s.input_size()), 1), bias = random_floats(std::size_t(s.filters), 2);
  const auto weight = blocked_weight(s, run.block, run.sparsity);
  const auto expected = reference_sparse_conv2d(s, as_read(x), as_read(weight), bias, run.activation, run.pool);
  Weight<T> made(s, weight, run.tile);
  const GuardedBuffer<float> device_x(x), device_bias(bias);
  GuardedBuffer<T> operand(std::size_t(kernels::block_conv2d_operand_size(s)));
  GuardedBuffer<float> y(expected.size());
  kernels::block_conv2d<T>(s, made.encoded.layout, made.taps.data(), {.x = device_x.data(), .y = y.data()},
                           {device_bias.data(), run.activation}, operand.data(), nullptr, run.pool);
  CHECK(operand.guards_intact());
  CHECK(y.guards_intact());
  CHECK(difference(y.download(), expected, 1e-5, sum_tolerance(s.patch())) == "");
}

template <class T>
void check(const Conv2dShape& s, Run run = {}) {
  check_tile<T>(s, run);
  if (s.groups > 1 && s.filters_per_group() % 128 != 0) return;
  run.tile = 128;
  check_tile<T>(s, run);
}

template <class T>
void check_all() {
  for (const std::int64_t channels : {1, 3, 8, 9, 16, 20, 70}) check<T>({3, channels, 7, 9, 12, 3, 3, 1, 1});
  for (const std::int64_t filters : {1, 16, 63, 64, 65, 130}) check<T>({1, 40, 6, 5, filters, 3, 3});
  for (const std::int64_t stride : {1, 2, 3}) {
    for (const std::int64_t padding : {0, 1, 2}) check<T>({3, 34, 9, 8, 40, 3, 3, stride, padding});
  }
  for (const double sparsity : {0.0, 0.95, 1.0}) check<T>({2, 48, 6, 7, 80, 3, 3, 1, 1}, {.sparsity = sparsity});
  for (const std::int64_t block : {1, 8, 32})
    check<T>({2, 64, 5, 7, 96, 3, 3, 1, 1}, {.sparsity = 0.8, .block = block});
  check<T>({5, 12, 4, 4, 17, 1, 1});
  check<T>({1, 5, 11, 13, 9, 5, 2, 2, 1});
  check<T>({1, 4, 13, 12, 7, 3, 3, 2, 2, 2});
  check<T>({1, 2, 19, 18, 5, 15, 15, 1, 3});
  check<T>({2, 24, 5, 7, 192, 3, 3, 2, 1, 1, 3});
  check<T>({1, 16, 6, 5, 256, 2, 2, 1, 1, 1, 2});
}

TEST_CASE("block_conv2d equals the dense convolution of the rounded operands, in fp16") {
  if (!kernels::has_tensor_cores_for(kernels::Precision::fp16)) return;
  check_all<half>();
  check<half>({2, 9, 6, 6, 9, 3, 3, 1, 1}, {.activation = Activation::leaky_relu});
  check<half>({2, 9, 6, 6, 9, 3, 3, 1, 1}, {.activation = Activation::gelu});
}

TEST_CASE("block_conv2d equals the dense convolution of the rounded operands, in bf16 and tf32") {
  if (!kernels::has_tensor_cores_for(kernels::Precision::tf32)) return;
  check_all<bfloat16>();
  check_all<float>();
}

template <class T>
void check_pooled() {
  for (const std::int64_t size : {4, 7, 9}) {  // pixels that no window has, and tiles that end within an image
    for (const std::int64_t stride : {1, 2}) {
      check<T>({3, 36, size, size + 3, 40, 3, 3, stride, 1}, {.pool = ConvPool::halves});
    }
  }
  check<T>({2, 9, 18, 13, 130, 2, 3}, {.activation = Activation::none, .pool = ConvPool::halves});
  check<T>({5, 6, 12, 5, 65, 3, 3, 1, 2, 2}, {.activation = Activation::leaky_relu, .pool = ConvPool::halves});
}

TEST_CASE("block_conv2d stores the largest of each 2 x 2 outputs") {
  if (kernels::has_tensor_cores_for(kernels::Precision::fp16)) check_pooled<half>();
  if (!kernels::has_tensor_cores_for(kernels::Precision::tf32)) return;
  check_pooled<bfloat16>();
  check_pooled<float>();
}

TEST_CASE("block_conv2d: a NaN reaches no pixel that does not see it") {
  if (!kernels::has_tensor_cores_for(kernels::Precision::fp16)) return;
  const Conv2dShape s{1, 8, 5, 5, 3, 3, 3, 1, 1};
  std::vector<float> x(std::size_t(s.input_size()), 1.0f);
  x[0] = std::numeric_limits<float>::quiet_NaN();
  Weight<half> made(s, blocked_weight(s, 8, 0.3));
  const GuardedBuffer<float> device_x(x);
  GuardedBuffer<half> operand(std::size_t(kernels::block_conv2d_operand_size(s)));
  GuardedBuffer<float> y(std::size_t(s.output_size()));
  kernels::block_conv2d<half>(s, made.encoded.layout, made.taps.data(), {.x = device_x.data(), .y = y.data()}, {},
                              operand.data(), nullptr);
  const auto result = y.download();
  for (std::size_t i = 0; i < result.size(); ++i) {
    const std::size_t row = i / 5 % 5, column = i % 5;
    if (row > 1 || column > 1) CHECK(!std::isnan(result[i]));
  }
}

template <class T>
void check_decoded(const WeightShape& shape, double sparsity, std::int64_t tile) {
  CAPTURE(shape.rows);
  CAPTURE(shape.columns);
  CAPTURE(sparsity);
  const auto weight = floats(rounded<T>(sparse_weight(shape.rows, shape.columns, sparsity, 5)));
  Encoded<T> encoded(shape, tile, GuardedBuffer<float>(weight));
  GuardedBuffer<float> decoded(weight.size());
  kernels::fragment_blocks_decode(encoded.layout, decoded.data(), nullptr);
  CHECK(decoded.guards_intact());
  CHECK(decoded.download() == weight);
}

TEST_CASE("fragment blocks: decode(encode(w)) == w, of empty and full weights, and at odd edges") {
  for (const std::int64_t rows : {1, 16, 17, 64, 65, 150}) {
    for (const std::int64_t columns : {1, 15, 16, 17, 100}) {
      for (const double sparsity : {0.0, 0.5, 0.98, 1.0}) {
        check_decoded<half>({rows, columns}, sparsity, 128);
        check_decoded<bfloat16>({rows, columns}, sparsity, 64);
        check_decoded<float>({rows, columns}, sparsity, 64);
      }
    }
  }
}

TEST_CASE("fragment blocks: what is stored are the blocks of 16 that are not all zero, and no more") {
  const Conv2dShape s{1, 48, 3, 3, 64, 3, 3};
  Weight<half> made(s, blocked_weight(s, 16, 0.5));
  std::int64_t kept = 0;
  for (const std::uint8_t mask : made.encoded.masks.download()) {
    for (int bit = 0; bit < 4; ++bit) kept += mask >> bit & 1;
  }
  CHECK(made.encoded.layout.fragments == kept);
  CHECK(kept > 30);
  CHECK(kept < 80);  // of 4 x 3 x 9
}

TEST_CASE("block_conv2d: 128 filters make a tile where much is kept and there is work for many") {
  const Conv2dShape s{32, 64, 28, 28, 128, 3, 3, 1, 1};
  const auto with = [&](std::int64_t batch, std::int64_t filters, std::int64_t groups = 1) {
    Conv2dShape other = s;
    other.batch = batch, other.filters = filters, other.groups = groups;
    return other;
  };
  CHECK(kernels::block_conv2d_tile(s, 0.5) == 128);
  CHECK(kernels::block_conv2d_tile(s, 0.1) == 64);
  CHECK(kernels::block_conv2d_tile(with(1, 128), 0.5) == 64);
  CHECK(kernels::block_conv2d_tile(with(32, 64), 0.5) == 64);
  CHECK(kernels::block_conv2d_tile(with(32, 192, 3), 0.5) == 64);
  CHECK(kernels::block_conv2d_tile(with(32, 256, 2), 0.5) == 128);
}

std::string refusal(const Conv2dShape& s, const FragmentBlocksView<float>& weight, ConvPool pool = ConvPool::none) try {
  kernels::block_conv2d<float>(s, weight, nullptr, {}, {}, nullptr, nullptr, pool);
  return "none";
} catch (const InvalidArgument& error) {
  return error.what();
}

TEST_CASE("block_conv2d refuses groups, large kernels, other weights, and GPUs without tensor cores for it") {
  const auto of = [](std::int64_t columns) { return FragmentBlocksView<float>{.rows = 4, .columns = columns}; };
  CHECK(refusal({1, 8, 5, 5, 4, 3, 3, 1, 0, 1, 2}, of(72)) ==
        "block_conv2d: groups of 4 channels and 2 filters; it takes multiples of 8 and 64");
  CHECK(refusal({1, 8, 20, 20, 4, 16, 3}, of(384)) ==
        "block_conv2d: a kernel of 16 x 3; it takes 15 taps along an axis");
  CHECK(refusal({1, 8, 5, 5, 4, 3, 3}, of(71)) == "block_conv2d: weight is 4 x 71, the shape wants 4 x 72");
  if (kernels::has_tensor_cores_for(kernels::Precision::tf32)) {
    CHECK(refusal({1, 8, 3, 5, 4, 3, 3}, of(72), ConvPool::halves) ==
          "block_conv2d: pools outputs of 2 x 2 and more, behind none, relu and leaky_relu; these are 1 x 3");
    return;
  }
  CHECK(refusal({1, 8, 5, 5, 4, 3, 3}, of(72)) ==
        "block_conv2d: tf32 and bf16 need compute capability 8.0, fp16 7.5; take vector_nm_conv2d, which runs on "
        "ordinary cores");
}

}  // namespace
}  // namespace espalier::test
