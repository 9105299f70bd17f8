// Convolution through the vendor's product against plain loops in double: every option, all images at once, a few, one.
#include "kernels/vendor/conv2d.h"

#include <doctest/doctest.h>

#include <cmath>

#include "kernels/require.h"
#include "tests/support/close.h"
#include "tests/support/guarded_buffer.h"
#include "tests/support/reference/conv2d.h"

namespace espalier::kernels {
namespace {

using namespace test;
using vendor::Conv2dDirection;
using vendor::Conv2dProduct;

double tolerance(index_t depth) { return 1e-6 * std::sqrt(double(depth)) + 2e-7; }

// The floats that `images` at a time need, found by what the launchers accept: im2col's columns and one copy of y.
index_t floats_for(const Conv2dShape& s, index_t images) {
  const index_t plane = s.out_height() * s.out_width();
  return images * plane * (s.channels * s.kernel_height * s.kernel_width + s.filters);
}

void check(const Conv2dShape& s, Conv2dProduct product, index_t workspace_floats) {
  INFO("[", s.batch, ", ", s.channels, ", ", s.height, ", ", s.width, "], ", s.filters, " filters, groups ", s.groups,
       ", stride ", s.stride, ", product ", int(product), ", workspace ", workspace_floats);
  const std::vector<float> x = random_floats(std::size_t(s.input_size()), 1);
  const std::vector<float> w = random_floats(std::size_t(s.weight_size()), 2);
  const std::vector<float> bias = random_floats(std::size_t(s.filters), 3);
  const std::vector<float> dy = random_floats(std::size_t(s.output_size()), 4);
  Conv2dInDouble expected = conv2d_reference(s, x, w, bias, dy);
  for (double& value : expected.y) value = value <= 0 ? 0.25 * value : value;

  const GuardedBuffer<float> on_x(x), on_w(w), on_bias(bias), on_dy(dy);
  GuardedBuffer<float> y(dy.size()), dx(x.size()), dw(w.size()), db(bias.size());
  const auto scratch = [&](Conv2dDirection direction) {
    const index_t wanted = conv2d_workspace_floats(s, direction, product);
    return GuardedBuffer<float>(std::size_t(workspace_floats > 0 ? workspace_floats : wanted));
  };
  GuardedBuffer<float> forward = scratch(Conv2dDirection::forward), input = scratch(Conv2dDirection::input);
  GuardedBuffer<float> weight = scratch(Conv2dDirection::weight);
  vendor::conv2d_forward(s, on_x.data(), on_w.data(), on_bias.data(), y.data(), Activation::leaky_relu, 0.25f,
                         {forward.data(), index_t(forward.size())}, nullptr, product);
  vendor::conv2d_backward_input(s, on_dy.data(), on_w.data(), dx.data(), {input.data(), index_t(input.size())}, nullptr,
                                product);
  vendor::conv2d_backward_weight(s, on_x.data(), on_dy.data(), dw.data(), db.data(),
                                 {weight.data(), index_t(weight.size())}, nullptr, product);
  const index_t pixels = s.batch * s.out_height() * s.out_width();
  CHECK(norm_error(y.download(), expected.y) < tolerance(s.patch() + 1));
  CHECK(norm_error(dx.download(), expected.dx) < tolerance(s.patch() * s.filters / s.channels));
  CHECK(norm_error(dw.download(), expected.dw) < tolerance(pixels));
  CHECK(norm_error(db.download(), expected.db) < tolerance(pixels));
  for (const auto* buffer : {&y, &dx, &dw, &db, &forward, &input, &weight}) CHECK(buffer->guards_intact());
}

void check_every_way(const Conv2dShape& s) {
  check(s, Conv2dProduct::fastest, 0);
  check(s, Conv2dProduct::blas, 0);
  for (index_t images : {1, 2}) check(s, Conv2dProduct::blas, floats_for(s, images) + 1024);
}

TEST_CASE("vendor conv2d: every option equals plain loops in double, however many images fit the workspace") {
  const Conv2dShape plain{
      .batch = 5, .channels = 4, .height = 7, .width = 6, .filters = 6, .kernel_height = 3, .kernel_width = 2};
  const auto with = [&](auto change) {
    Conv2dShape s = plain;
    change(s);
    return s;
  };
  check_every_way(plain);
  check_every_way(with([](Conv2dShape& s) { s.batch = 1; }));
  check_every_way(with([](Conv2dShape& s) { s.kernel_height = s.kernel_width = 1; }));
  check_every_way(with([](Conv2dShape& s) { s.stride = 2, s.padding = 1; }));
  check_every_way(with([](Conv2dShape& s) { s.dilation = 2, s.padding = 2; }));
  check_every_way(with([](Conv2dShape& s) { s.groups = 2; }));
  check_every_way(with([](Conv2dShape& s) { s.groups = 4, s.filters = 8, s.padding = 1; }));
}

TEST_CASE("vendor conv2d: says how much workspace an image needs") {
  const Conv2dShape s{.batch = 2, .height = 4, .width = 4, .kernel_height = 2, .kernel_width = 2};
  GuardedBuffer<float> x(32), w(4), y(18), workspace(44);
  CHECK_THROWS_WITH_AS(
      vendor::conv2d_forward(s, x.data(), w.data(), nullptr, y.data(), Activation::none, 0, {workspace.data(), 44},
                             nullptr, Conv2dProduct::blas),
      "vendor conv2d_forward: a workspace of 44 floats; one image needs 45, conv2d_workspace_floats() is best",
      InvalidArgument);
}

}  // namespace
}  // namespace espalier::kernels
