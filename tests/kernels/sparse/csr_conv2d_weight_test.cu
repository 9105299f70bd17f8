// The sampled gradient of a pruned convolution against the dense one in double.
#include "kernels/sparse/csr_conv2d_weight.h"

#include <doctest/doctest.h>

#include "kernels/require.h"
#include "tests/support/kept_buffers.h"
#include "tests/support/reference/conv2d.h"

namespace espalier::test {
namespace {

using kernels::Conv2dShape;
using kernels::SparseTeam;

enum class Bias { with, without };

struct Problem {
  Conv2dShape shape;
  std::vector<float> x, dy, weight;
  KeptBuffers kept;
  Conv2dInDouble expected;

  Problem(const Conv2dShape& of, double sparsity)
      : shape(of),
        x(random_floats(std::size_t(of.input_size()), 1)),
        dy(random_floats(std::size_t(of.output_size()), 2)),
        weight(of.filters > 1 ? uneven_weight(of.filters, of.patch(), sparsity, 3)
                              : sparse_weight(1, of.patch(), sparsity, 3)),
        kept(of.filters, of.patch(), keep_of(weight)),
        expected(conv2d_reference(of, x, weight, std::vector<float>(std::size_t(of.filters)), dy)) {}

  std::vector<double> expected_at_kept() const {
    std::vector<double> values;
    for (std::size_t i = 0; i < weight.size(); ++i) {
      if (weight[i] != 0.0f) values.push_back(expected.dw[i]);
    }
    return values;
  }
};

void check(const Problem& p, Bias bias, SparseTeam team) {
  const Conv2dShape& shape = p.shape;
  const kernels::KeptView view = p.kept.view();
  const kernels::CsrConv2dLayout layout = csr_conv2d_layout(shape, team);
  GuardedBuffer<std::int32_t> offsets(std::size_t(view.kept));
  csr_conv2d_offsets(shape, layout, view.kept, view.column_indices, offsets.data(), nullptr);
  const GuardedBuffer<float> x(p.x), dy(p.dy);
  GuardedBuffer<float> dw(std::size_t(view.kept)), db(std::size_t(shape.filters));
  GuardedBuffer<float> scratch(std::size_t(csr_conv2d_weight_scratch(shape, layout, view.kept, team)));
  csr_conv2d_weight(shape, layout, {view.kept, view.row_offsets, offsets.data()}, x.data(), dy.data(), dw.data(),
                    bias == Bias::with ? db.data() : nullptr, scratch.data(), nullptr, team);
  const double tolerance = sum_tolerance(shape.batch * shape.out_height() * shape.out_width());
  CHECK(difference(dw.download(), p.expected_at_kept(), 1e-5, tolerance) == "");
  if (bias == Bias::with) CHECK(difference(db.download(), p.expected.db, 1e-5, tolerance) == "");
  for (const auto* buffer : {&dw, &db, &scratch}) CHECK(buffer->guards_intact());
}

void check(const Conv2dShape& shape, double sparsity = 0.8, Bias bias = Bias::with) {
  CAPTURE(shape.batch);
  CAPTURE(shape.height);
  CAPTURE(shape.width);
  CAPTURE(shape.channels);
  CAPTURE(shape.filters);
  CAPTURE(sparsity);
  const Problem problem(shape, sparsity);
  check(problem, bias, SparseTeam::automatic);
  if (simt::kEmulated) check(problem, bias, SparseTeam::warp);  // automatic is a warp on a GPU
}

Conv2dShape shape_of(std::int64_t channels, std::int64_t size, std::int64_t filters, std::int64_t kernel,
                     std::int64_t batch = 1) {
  return {batch, channels, size, size, filters, kernel, kernel};
}

TEST_CASE("csr_conv2d_weight: the sizes of small networks, batches around the parts that they are summed in") {
  check(shape_of(1, 28, 4, 3, 2));
  check(shape_of(6, 12, 9, 5, 3));
  for (const std::int64_t batch : {1, 15, 16, 17, 65}) check(shape_of(2, 6, 3, 3, batch));
}

TEST_CASE("csr_conv2d_weight: every image size from the kernel's own upwards") {
  for (const std::int64_t size : {3, 4, 5, 7, 10, 16, 17, 18, 19, 33, 35}) check(shape_of(2, size, 2, 3, 2));
  check({1, 2, 3, 45, 2, 2, 3});
  check({1, 2, 45, 3, 2, 3, 2});
  check(shape_of(3, 5, 4, 1));
  check(shape_of(3, 5, 4, 5));
}

TEST_CASE("csr_conv2d_weight: every filter count around a block's teams, rows of nothing and of everything") {
  for (const std::int64_t filters : {1, 2, 7, 8, 9, 17}) check(shape_of(2, 6, filters, 3));
  for (const double sparsity : {0.0, 0.5, 0.99}) check(shape_of(4, 8, 3, 3), sparsity);
}

TEST_CASE("csr_conv2d_weight: padding, stride, dilation, groups, and no bias") {
  Conv2dShape shape = shape_of(6, 9, 9, 3, 2);
  shape.padding = 1;
  check(shape, 0.8, Bias::without);
  shape.groups = 3;
  check(shape);
  shape.stride = 2;
  check(shape);
  shape.stride = 3, shape.dilation = 2, shape.padding = 2;
  check(shape);
  shape.groups = 1, shape.stride = 1, shape.padding = 4;
  check(shape);
}

TEST_CASE("csr_conv2d_weight: where an image is cut into tiles, and where its channels come in several goes") {
  check(shape_of(9, 40, 2, 3, 2));
  check({1, 1, 9, 1500, 1, 9, 3});
  check({2, 150, 9, 9, 5, 3, 3, 1, 1}, 0.97);
  check({1, 70, 20, 30, 2, 3, 3, 2, 1}, 0.97);
}

TEST_CASE("csr_conv2d_weight: what it cannot do is refused with its reason") {
  const Conv2dShape shape = shape_of(1, 6, 1, 3);
  const auto run = [&](kernels::ConvPool pool, std::int64_t kept) {
    csr_conv2d_weight(shape, csr_conv2d_layout(shape, SparseTeam::automatic, pool), {kept, nullptr, nullptr}, nullptr,
                      nullptr, nullptr, nullptr, nullptr, nullptr);
  };
  CHECK_THROWS_WITH_AS(run(kernels::ConvPool::halves, 1), doctest::Contains("pooled"), InvalidArgument);
  CHECK_THROWS_WITH_AS(run(kernels::ConvPool::none, 0), doctest::Contains("0 kept weights"), InvalidArgument);
}

}  // namespace
}  // namespace espalier::test
