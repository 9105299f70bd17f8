// Convolutions of a stride, whose kernels (conv2d_stencil.h, conv2d_point.h) differ from those of none.
#include "kernels/conv2d_weight_parts.h"
#include "tests/support/conv2d_directions.h"

using namespace espalier::kernels;
using namespace espalier::test;

namespace {

// 3x3 kernels of stride 2.
Conv2dShape halving(index_t batch, index_t channels, index_t height, index_t width, index_t filters, index_t padding) {
  return {.batch = batch,
          .channels = channels,
          .height = height,
          .width = width,
          .filters = filters,
          .kernel_height = 3,
          .kernel_width = 3,
          .stride = 2,
          .padding = padding};
}

}  // namespace

TEST_CASE("conv2d: 1x1 kernels of stride 2, over rows that are whole vectors and others") {
  for (index_t width : {12, 13, 14, 36}) {
    for (index_t height : {5, 6}) {
      check_all_directions({.batch = 3, .channels = 6, .height = height, .width = width, .filters = 33, .stride = 2});
    }
  }
  check_all_directions({.batch = 3, .channels = 6, .height = 9, .width = 8, .filters = 4, .stride = 2, .groups = 2});
}

TEST_CASE("conv2d: 3x3 kernels of stride 2, over maps that fit whole and in parts") {
  for (index_t size : {5, 6, 7, 8, 9, 14}) {
    for (index_t padding : {0, 1, 2, 3}) check_all_directions(halving(3, 3, size, size + 3, 5, padding));
  }
  for (index_t size : {1, 2, 3, 4}) check_all_directions(halving(2, 2, size, size, 9, 1));
  for (index_t channels : {1, 5, 16, 20}) check_all_directions(halving(2, channels, 14, 28, 83, 1));
  Conv2dShape grouped = halving(2, 6, 57, 56, 20, 1);
  grouped.groups = 2;
  check_all_directions(grouped);
  check_all_directions(halving(1, 1, 41, 301, 9, 1));
}

TEST_CASE("conv2d: of stride 2, what is fastest on a GPU, too, where it shares long sums") {
  const Conv2dCase p(halving(2, 16, 32, 32, 24, 1));
  CHECK(pays_stencil(p.shape, StencilUse::forward));
  CHECK_FALSE(pays_stencil(p.shape, StencilUse::weight_gradient));
  CHECK_FALSE(pays_stencil(p.shape, StencilUse::pool));
  const index_t pixels = p.shape.batch * 16 * 16, floats = conv2d_backward_weight_workspace(p.shape);
  CHECK(norm_error(forward(p, Conv2dMethod::fastest, Activation::none, true), p.expected.y) < tolerance(145));
  CHECK(norm_error(backward_input(p, Conv2dMethod::fastest), p.expected.dx) < tolerance(9 * 24));
  const WeightGradient gradient = backward_weight(p, Conv2dMethod::fastest, true, floats);
  CHECK(norm_error(gradient.dw, p.expected.dw) < tolerance(pixels));
  CHECK(norm_error(gradient.db, p.expected.db) < tolerance(pixels));
}

TEST_CASE("conv2d_backward: of stride 2, either input gradient sums the parts of a weight gradient by stencil") {
  const Conv2dCase p(halving(9, 5, 12, 12, 11, 1));
  const index_t floats = conv2d_backward_weight_workspace(p.shape, Conv2dMethod::stencil);
  REQUIRE(floats > 0);
  for (Conv2dMethod method : {Conv2dMethod::tiles, Conv2dMethod::stencil}) {
    INFO("method ", int(method));
    const GuardedBuffer<float> x(p.x), w(p.w), dy(p.dy);
    GuardedBuffer<float> dx(p.x.size()), dw(p.w.size()), db(p.bias.size()), workspace{std::size_t(floats)};
    const WeightParts parts = conv2d_backward_weight_parts(p.shape, x.data(), dy.data(), dw.data(), db.data(),
                                                           {workspace.data(), floats}, nullptr, Conv2dMethod::stencil);
    conv2d_backward_input_and_sum(p.shape, dy.data(), w.data(), dx.data(), parts, {}, nullptr, method);
    const WeightGradient expected = backward_weight(p, Conv2dMethod::stencil, true, floats);
    CHECK(dw.download() == expected.dw);
    CHECK(db.download() == expected.db);
    CHECK(dx.download() == backward_input(p, method));
  }
}

TEST_CASE("conv2d_backward_input: of stride 2, cells of maps too wide for a block, of odd and even widths") {
  const StencilPlan plan = stencil_plan(halving(1, 40, 6, 1100, 4, 1), StencilUse::input_gradient);
  CHECK(plan.problem.kernel == kCellKernel);
  CHECK(plan.tile.tiles_across > 1);
  for (index_t width : {1100, 1102, 1103}) {
    const Conv2dCase p(halving(1, 40, 6, width, 4, 1));
    CHECK(norm_error(backward_input(p, Conv2dMethod::stencil), p.expected.dx) < tolerance(9 * 4));
  }
  CHECK_FALSE(suits_stencil(halving(1, 3, 8, 8, 5, 0), StencilUse::input_gradient));
  CHECK_FALSE(suits_stencil(halving(1, 3, 8, 8, 5, 2), StencilUse::input_gradient));
}
