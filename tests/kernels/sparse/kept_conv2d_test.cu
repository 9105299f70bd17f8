// The flipped places of a pruned convolution: dx of a csr_conv2d() over them against the dense gradient in double.
#include "kernels/sparse/kept_conv2d.h"

#include <doctest/doctest.h>

#include "kernels/require.h"
#include "tests/support/kept_buffers.h"
#include "tests/support/reference/conv2d.h"

namespace espalier::test {
namespace {

using kernels::Conv2dShape;
using kernels::SparseTeam;

std::vector<float> input_gradient(const Conv2dShape& shape, const std::vector<float>& weight,
                                  const std::vector<float>& dy, SparseTeam team) {
  const Conv2dShape flipped = kernels::input_gradient_shape(shape).value();
  const auto mask = keep_of(weight);
  const auto kept = std::size_t(std::count(mask.begin(), mask.end(), 1));
  const GuardedBuffer<std::uint8_t> keep(mask);
  const GuardedBuffer<float> device_weight(weight), device_dy(dy);
  GuardedBuffer<std::int32_t> row_offsets(std::size_t(shape.channels) + 1), columns(kept), places(kept), offsets(kept);
  GuardedBuffer<float> values(kept), dx(std::size_t(shape.input_size()));
  kept_flip(shape, keep.data(), {row_offsets.data(), columns.data(), places.data()}, nullptr);
  CHECK(std::size_t(row_offsets.download().back()) == kept);
  const kernels::CsrConv2dLayout layout = csr_conv2d_layout(flipped, team);
  kept_conv2d_gather(flipped, layout, {std::int64_t(kept), columns.data(), places.data()}, device_weight.data(),
                     values.data(), offsets.data(), nullptr);
  csr_conv2d(flipped, layout,
             {flipped.filters, flipped.patch(), std::int64_t(kept), row_offsets.data(), offsets.data(), values.data()},
             device_dy.data(), {}, dx.data(), nullptr, team);
  for (const auto* buffer : {&row_offsets, &columns, &places, &offsets}) CHECK(buffer->guards_intact());
  CHECK(values.guards_intact());
  return dx.download();
}

void check(Conv2dShape shape, std::int64_t padding, std::int64_t groups = 1, std::int64_t dilation = 1) {
  shape.padding = padding, shape.groups = groups, shape.dilation = dilation;
  CAPTURE(shape.kernel_height);
  CAPTURE(padding);
  CAPTURE(groups);
  CAPTURE(dilation);
  const auto weight = uneven_weight(shape.filters, shape.patch(), 0.7, 1);
  const auto x = random_floats(std::size_t(shape.input_size()), 2);
  const auto dy = random_floats(std::size_t(shape.output_size()), 3);
  const auto expected = conv2d_reference(shape, x, weight, std::vector<float>(std::size_t(shape.filters)), dy).dx;
  for (const SparseTeam team : {SparseTeam::automatic, SparseTeam::warp}) {
    if (team == SparseTeam::warp && !simt::kEmulated) continue;  // automatic is a warp there
    CHECK(difference(input_gradient(shape, weight, dy, team), expected, 1e-5,
                     sum_tolerance(shape.filters_per_group() * shape.kernel_height * shape.kernel_width)) == "");
  }
}

TEST_CASE("kept_conv2d: the flipped weight gives dx, with padding, groups, dilation and windows of every parity") {
  check({2, 3, 7, 9, 4, 3, 3}, 0);
  check({2, 3, 7, 9, 4, 3, 3}, 1);
  check({1, 3, 7, 9, 4, 3, 3}, 2);
  check({2, 6, 8, 7, 9, 3, 3}, 1, 3);
  check({1, 4, 8, 7, 4, 3, 3}, 0, 4);
  check({1, 2, 11, 10, 3, 3, 3}, 2, 1, 2);
  check({1, 5, 6, 6, 7, 1, 1}, 0);
  check({1, 3, 9, 8, 17, 2, 2}, 1);
  check({1, 20, 12, 12, 6, 5, 5}, 0);
}

TEST_CASE("kept_conv2d: where dx is no convolution of dy, there is no shape of it") {
  CHECK_FALSE(kernels::input_gradient_shape({1, 1, 9, 9, 1, 3, 3, 2}));
  CHECK_FALSE(kernels::input_gradient_shape({1, 1, 9, 9, 1, 3, 3, 1, 3}));
  CHECK_FALSE(kernels::input_gradient_shape({1, 1, 9, 9, 1, 3, 1, 1, 0}));
  const auto shape = kernels::input_gradient_shape({5, 2, 9, 8, 6, 3, 3, 1, 2, 1, 2});
  REQUIRE(shape);
  CHECK(shape->channels == 6);
  CHECK(shape->filters == 2);
  CHECK(shape->out_height() == 9);
  CHECK(shape->out_width() == 8);
  CHECK(shape->padding == 0);
}

TEST_CASE("kept_conv2d: the values and offsets of a step are those of csr_conv2d") {
  const Conv2dShape shape{1, 3, 8, 8, 5, 3, 3, 2, 1};
  const auto weight = uneven_weight(shape.filters, shape.patch(), 0.6, 4);
  const KeptBuffers kept(shape.filters, shape.patch(), keep_of(weight));
  const kernels::KeptView view = kept.view();
  const kernels::CsrConv2dLayout layout = csr_conv2d_layout(shape);
  const GuardedBuffer<float> device_weight(weight);
  GuardedBuffer<std::int32_t> offsets(std::size_t(view.kept)), expected(std::size_t(view.kept));
  GuardedBuffer<float> values(std::size_t(view.kept));
  kept_conv2d_gather(shape, layout, {view.kept, view.column_indices, view.places}, device_weight.data(), values.data(),
                     offsets.data(), nullptr);
  csr_conv2d_offsets(shape, layout, view.kept, view.column_indices, expected.data(), nullptr);
  CHECK(offsets.download() == expected.download());
  std::vector<float> wanted;
  for (const float value : weight) {
    if (value != 0.0f) wanted.push_back(value);
  }
  CHECK(values.download() == wanted);
}

}  // namespace
}  // namespace espalier::test
