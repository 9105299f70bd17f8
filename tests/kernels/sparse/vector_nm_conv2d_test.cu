// The sparse convolution with vectors of filters that share their columns, against the dense one with zeros in double.
#include "kernels/sparse/vector_nm_conv2d.h"

#include <doctest/doctest.h>

#include "kernels/require.h"
#include "kernels/sparse/encode_vector_nm.h"
#include "tests/support/reference/sparse_conv2d.h"
#include "tests/support/sparse_buffers.h"

namespace espalier::test {
namespace {

using kernels::Activation;
using kernels::Conv2dShape;
using kernels::ConvPool;
using kernels::SparseTeam;

struct Vectors {
  Vectors(std::int64_t rows, std::int64_t columns, std::int64_t height, const std::vector<float>& weight)
      : layout{rows, columns, height}, group_offsets(0), column_indices(0), values(0) {
    const BlockCsrBuffers blocks(rows, columns, {height, 1}, weight);
    group_offsets = GuardedBuffer<std::int32_t>(std::size_t(layout.groups()) + 1);
    kernels::vector_nm_pad(blocks.view(), group_offsets.data(), nullptr);
    layout.vectors = group_offsets.download().back();
    column_indices = GuardedBuffer<std::int32_t>(std::size_t(layout.vectors));
    values = GuardedBuffer<float>(std::size_t(layout.vectors * height));
    layout.group_offsets = group_offsets.data();
    kernels::vector_nm_fill(blocks.view(), layout, column_indices.data(), values.data(), nullptr);
    layout.column_indices = column_indices.data(), layout.values = values.data();
  }
  kernels::VectorNmView layout;
  GuardedBuffer<std::int32_t> group_offsets, column_indices;
  GuardedBuffer<float> values;
};

// Whole vectors are zero, some rows of the others, too; the first group is empty.
std::vector<float> vector_weight(std::int64_t rows, std::int64_t columns, std::int64_t height, double sparsity) {
  std::vector<float> weight = sparse_weight(rows, columns, 0.1, 3);
  const std::vector<float> kept = sparse_weight((rows + height - 1) / height, columns, sparsity, 4);
  for (std::int64_t i = 0; i < rows * columns; ++i) {
    const std::int64_t group = i / columns / height;
    if (group == 0 || kept[std::size_t(group * columns + i % columns)] == 0.0f) weight[std::size_t(i)] = 0.0f;
  }
  return weight;
}

struct Options {
  std::int64_t height = 8;
  double sparsity = 0.7;
  Activation activation = Activation::relu;
  ConvPool pool = ConvPool::none;
};

void check(const Conv2dShape& shape, const Options& options = {}) {
  CAPTURE(shape.height);
  CAPTURE(shape.width);
  CAPTURE(shape.channels);
  CAPTURE(shape.filters);
  CAPTURE(options.height);
  const auto x = random_floats(std::size_t(shape.input_size()), 1);
  const auto bias = random_floats(std::size_t(shape.filters), 2);
  const auto weight = vector_weight(shape.filters, shape.patch(), options.height, options.sparsity);
  const auto expected = reference_sparse_conv2d(shape, x, weight, bias, options.activation, options.pool);
  const Vectors vectors(shape.filters, shape.patch(), options.height, weight);
  const GuardedBuffer<float> device_x(x), device_bias(bias);
  for (const SparseTeam team : {SparseTeam::automatic, SparseTeam::warp}) {
    if (team == SparseTeam::warp && !simt::kEmulated) continue;  // automatic is a warp there
    CAPTURE(int(team));
    const auto layout = vector_nm_conv2d_layout(shape, team, options.pool);
    GuardedBuffer<std::int32_t> offsets(std::size_t(vectors.layout.vectors));
    csr_conv2d_offsets(shape, layout, vectors.layout.vectors, vectors.layout.column_indices, offsets.data(), nullptr);
    kernels::VectorNmView by_offset = vectors.layout;
    by_offset.column_indices = offsets.data();
    GuardedBuffer<float> y(expected.size());
    vector_nm_conv2d(shape, layout, by_offset, device_x.data(), {device_bias.data(), options.activation}, y.data(),
                     nullptr, team);
    CHECK(offsets.guards_intact());
    CHECK(y.guards_intact());
    CHECK(difference(y.download(), expected, 1e-5, sum_tolerance(shape.patch())) == "");
  }
}

TEST_CASE("vector_nm_conv2d equals the dense convolution with zeros, at every height of vectors") {
  for (const std::int64_t height : {4, 8, 16, 32}) {
    check({2, 6, 13, 13, 40, 3, 3}, {.height = height});
    check({1, 3, 7, 9, 33, 2, 5, 1, 1}, {.height = height});
  }
}

TEST_CASE("vector_nm_conv2d at every image size from the kernel's own upwards, and where images are cut into tiles") {
  for (const std::int64_t size : {3, 4, 5, 10, 16, 17, 33, 35}) check({1, 2, size, size, 9, 3, 3});
  check({1, 1, 5, 600, 9, 3, 3, 1, 1});
  check({1, 2, 3, 45, 16, 2, 3});
}

TEST_CASE("vector_nm_conv2d with stride, dilation and groups") {
  for (const std::int64_t stride : {2, 3}) check({2, 3, 13, 13, 12, 3, 3, stride, 1});
  check({1, 2, 15, 15, 9, 3, 3, 2, 2, 2});
  check({2, 6, 8, 8, 24, 3, 3, 1, 1, 1, 3});
  check({1, 4, 9, 9, 8, 3, 3, 1, 0, 1, 2}, {.height = 4});
}

TEST_CASE("vector_nm_conv2d where shared memory holds only some channels at once") {
  check({1, 150, 9, 9, 17, 3, 3, 1, 1}, {.sparsity = 0.9});
  check({1, 90, 20, 30, 70, 3, 3, 2, 1}, {.sparsity = 0.95});
}

TEST_CASE("vector_nm_conv2d stores the largest of each 2 x 2 outputs, after any activation") {
  for (const std::int64_t size : {4, 7, 18, 21}) check({2, 3, size, size, 10, 3, 3}, {.pool = ConvPool::halves});
  check({1, 70, 18, 19, 16, 3, 3, 1, 1}, {.height = 16, .sparsity = 0.9, .pool = ConvPool::halves});
  check({1, 2, 8, 8, 8, 3, 3}, {.height = 4, .activation = Activation::leaky_relu, .pool = ConvPool::halves});
  check({1, 2, 8, 8, 8, 3, 3}, {.activation = Activation::tanh});
}

TEST_CASE("vector_nm_conv2d from empty to full") {
  for (const double sparsity : {0.0, 1.0}) check({1, 4, 8, 8, 24, 3, 3}, {.sparsity = sparsity});
}

TEST_CASE("vector_nm_conv2d refuses other weights, unknown heights, and groups that end within a vector") {
  const Conv2dShape shape{1, 4, 5, 5, 12, 3, 3, 1, 0, 1, 2};
  const auto layout = vector_nm_conv2d_layout(shape);
  const auto refusal = [&](const kernels::VectorNmView& weight) {
    try {
      vector_nm_conv2d(shape, layout, weight, nullptr, {}, nullptr, nullptr);
    } catch (const InvalidArgument& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  CHECK(refusal({12, 9, 4}) == "vector_nm_conv2d: weight is 12 x 9, the shape wants 12 x 18");
  CHECK(refusal({12, 18, 5}) == "vector_nm_conv2d: vectors of 5 rows; there are kernels for 4, 8, 16 and 32");
  CHECK(refusal({12, 18, 4}) == "vector_nm_conv2d: groups of 6 filters do not end with a vector of 4");
}

}  // namespace
}  // namespace espalier::test
