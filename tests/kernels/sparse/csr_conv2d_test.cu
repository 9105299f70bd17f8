// The direct sparse convolution against the dense one with zeros, in double.
#include "kernels/sparse/csr_conv2d.h"

#include <doctest/doctest.h>

#include "kernels/require.h"
#include "tests/support/reference/sparse_conv2d.h"
#include "tests/support/sparse_buffers.h"

namespace espalier::test {
namespace {

using kernels::Activation;
using kernels::Conv2dShape;
using kernels::ConvPool;
using kernels::SparseTeam;

std::vector<float> run(const Conv2dShape& shape, const std::vector<float>& x, const std::vector<float>& weight,
                       const std::vector<float>& bias, Activation activation, ConvPool pool, SparseTeam team) {
  const CsrBuffers csr(shape.filters, shape.patch(), weight);
  const kernels::CsrConv2dLayout layout = csr_conv2d_layout(shape, team, pool);
  GuardedBuffer<std::int32_t> offsets(csr.column_indices.size());
  csr_conv2d_offsets(shape, layout, csr.view(), offsets.data(), nullptr);
  kernels::CsrView by_offset = csr.view();
  by_offset.column_indices = offsets.data();
  const GuardedBuffer<float> device_x(x), device_bias(bias);
  GuardedBuffer<float> y(sparse_conv2d_outputs(shape, pool));
  csr_conv2d(shape, layout, by_offset, device_x.data(), {device_bias.data(), activation}, y.data(), nullptr, team);
  CHECK(offsets.guards_intact());
  CHECK(y.guards_intact());
  return y.download();
}

void check(const Conv2dShape& shape, double sparsity = 0.8, Activation activation = Activation::none,
           ConvPool pool = ConvPool::none) {
  CAPTURE(shape.height);
  CAPTURE(shape.width);
  CAPTURE(shape.channels);
  CAPTURE(shape.filters);
  CAPTURE(sparsity);
  const auto x = random_floats(std::size_t(shape.input_size()), 1);
  const auto bias = random_floats(std::size_t(shape.filters), 2);
  const auto weight = uneven_weight(shape.filters, shape.patch(), sparsity, 3);
  const auto expected = reference_sparse_conv2d(shape, x, weight, bias, activation, pool);
  for (const SparseTeam team : {SparseTeam::automatic, SparseTeam::warp}) {
    if (team == SparseTeam::warp && !simt::kEmulated) continue;  // automatic is a warp there
    CAPTURE(int(team));
    const auto y = run(shape, x, weight, bias, activation, pool, team);
    CHECK(difference(y, expected, 1e-5, sum_tolerance(shape.patch())) == "");
  }
}

Conv2dShape shape_of(std::int64_t channels, std::int64_t size, std::int64_t filters, std::int64_t kernel,
                     std::int64_t batch = 1) {
  return {batch, channels, size, size, filters, kernel, kernel};
}

TEST_CASE("csr_conv2d equals the dense convolution with zeros at the sizes of small networks") {
  check(shape_of(1, 28, 4, 3, 2));
  check(shape_of(6, 13, 9, 3, 2));
  check(shape_of(20, 12, 3, 5));
}

TEST_CASE("csr_conv2d at every image size from the kernel's own upwards") {
  for (const std::int64_t size : {3, 4, 5, 7, 10, 16, 17, 18, 19, 33, 34, 35}) check(shape_of(2, size, 2, 3));
  check({1, 2, 3, 45, 2, 2, 3});
  check({1, 2, 45, 3, 2, 3, 2});
  check(shape_of(3, 5, 4, 1));
  check(shape_of(3, 5, 4, 5));
}

TEST_CASE("csr_conv2d at every filter count around a block's teams") {
  for (const std::int64_t filters : {1, 2, 7, 8, 9, 17}) check(shape_of(2, 6, filters, 3));
}

TEST_CASE("csr_conv2d with padding, stride, dilation and groups") {
  for (const std::int64_t padding : {1, 2, 4}) {
    Conv2dShape shape = shape_of(2, 9, 3, 3, 2);
    shape.padding = padding;
    check(shape);
  }
  for (const std::int64_t stride : {2, 3, 5}) {
    for (const std::int64_t kernel : {1, 2, 3, 5}) {
      Conv2dShape shape = shape_of(3, 13, 4, kernel);
      shape.stride = stride, shape.padding = 1;
      check(shape);
    }
  }
  Conv2dShape dilated = shape_of(2, 15, 3, 3);
  dilated.dilation = 2, dilated.padding = 2;
  check(dilated);
  dilated.stride = 2;
  check(dilated);
  dilated.stride = 3, dilated.dilation = 4;
  check(dilated);
  Conv2dShape grouped = shape_of(6, 8, 9, 3, 2);
  grouped.groups = 3, grouped.padding = 1;
  check(grouped);
  grouped.groups = 6, grouped.filters = 12;
  check(grouped);
}

TEST_CASE("csr_conv2d where an image is cut into tiles of rows") { check(shape_of(9, 40, 2, 3)); }

TEST_CASE("csr_conv2d where an image is cut into tiles of columns") { check({1, 1, 9, 1500, 1, 9, 3}); }

TEST_CASE("csr_conv2d where shared memory holds only some channels at once") {
  check({1, 150, 9, 9, 5, 3, 3, 1, 1}, 0.97);
  check({1, 70, 20, 30, 2, 3, 3, 2, 1}, 0.97);
  check({1, 400, 6, 6, 4, 3, 3, 1, 0, 1, 2}, 0.97);
}

TEST_CASE("csr_conv2d at sparsities from empty to full, with every activation") {
  for (const double sparsity : {0.0, 0.5, 0.98, 1.0}) check(shape_of(4, 8, 3, 3), sparsity);
  for (const Activation activation :
       {Activation::relu, Activation::leaky_relu, Activation::gelu, Activation::sigmoid, Activation::tanh}) {
    check(shape_of(2, 8, 3, 3), 0.7, activation);
  }
}

TEST_CASE("csr_conv2d stores the largest of each 2 x 2 outputs, whatever the tiles") {
  const auto pooled = [](const Conv2dShape& shape, double sparsity = 0.8) {
    check(shape, sparsity, Activation::relu, ConvPool::halves);
  };
  for (const std::int64_t size : {4, 5, 6, 9, 18, 19, 33, 36}) pooled(shape_of(2, size, 3, 3, 2));
  pooled(shape_of(1, 28, 9, 5));
  pooled(shape_of(20, 12, 3, 5));
  pooled(shape_of(9, 40, 2, 3));
  pooled({1, 1, 10, 1500, 1, 9, 3});
  pooled({1, 150, 9, 9, 5, 3, 3, 1, 1}, 0.97);
  pooled({1, 70, 20, 31, 2, 3, 3, 2, 1}, 0.97);
  pooled({1, 4, 13, 10, 4, 3, 3, 1, 1, 2, 2});
}

TEST_CASE("csr_conv2d refuses to pool outputs that hold no window") {
  CHECK_THROWS_WITH_AS(csr_conv2d_layout(shape_of(1, 3, 1, 3), SparseTeam::automatic, ConvPool::halves),
                       "csr_conv2d: outputs of 1 x 1 hold no window of a 2 x 2 pool", InvalidArgument);
}

TEST_CASE("csr_conv2d: a weight of another shape is refused with both shapes") {
  const CsrBuffers csr(2, 9, std::vector<float>(18, 1.0f));
  const Conv2dShape shape = shape_of(2, 5, 2, 3);
  CHECK_THROWS_WITH_AS(csr_conv2d(shape, csr_conv2d_layout(shape), csr.view(), nullptr, {}, nullptr, nullptr),
                       "csr_conv2d: weight is 2 x 9, the shape wants 2 x 18", InvalidArgument);
}

}  // namespace
}  // namespace espalier::test
