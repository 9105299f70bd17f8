// Where a stencil's tile lies in shared memory: counted by bank, and a pooled block of teams of 30 threads, whose warps
// read two channels at once, against plain loops in double.
#include <doctest/doctest.h>

#include <algorithm>

#include "kernels/conv2d_pool.h"
#include "kernels/conv2d_stencil.h"
#include "tests/support/close.h"
#include "tests/support/conv2d_problem.h"
#include "tests/support/guarded_buffer.h"
#include "tests/support/reference/conv2d.h"

using namespace espalier;
using namespace espalier::kernels;
using namespace espalier::test;

namespace {

Conv2dShape square(index_t batch, index_t channels, index_t side, index_t filters, index_t kernel, index_t padding) {
  return {.batch = batch,
          .channels = channels,
          .height = side,
          .width = side,
          .filters = filters,
          .kernel_height = kernel,
          .kernel_width = kernel,
          .padding = padding};
}

std::vector<double> pooled(const Conv2dShape& s, const std::vector<double>& y) {
  const index_t height = s.out_height(), width = s.out_width();
  std::vector<double> best;
  for (index_t plane = 0; plane < s.batch * s.filters; ++plane) {
    for (index_t row = 0; row < height / 2; ++row) {
      for (index_t column = 0; column < width / 2; ++column) {
        const double* from = y.data() + (plane * height + 2 * row) * width + 2 * column;
        best.push_back(std::max({from[0], from[1], from[width], from[width + 1]}));
      }
    }
  }
  return best;
}

}  // namespace

TEST_CASE("stencil_plan: lanes that read together meet in no bank, also those of two teams") {
  for (const Conv2dShape& s : {
           square(128, 1, 28, 20, 5, 0),
           square(128, 20, 12, 50, 5, 0),
           square(128, 1, 28, 32, 3, 0),
           square(128, 32, 13, 64, 3, 0),
           square(128, 16, 28, 16, 3, 1),
           square(32, 64, 28, 64, 3, 1),
           square(8, 128, 28, 128, 3, 1),
           square(16, 256, 14, 256, 3, 1),
           square(4, 512, 7, 512, 3, 1),
       }) {
    for (const StencilUse use :
         {StencilUse::forward, StencilUse::pool, StencilUse::input_gradient, StencilUse::pooled_input_gradient}) {
      INFO(text(s), ", use ", int(use));
      CHECK(lost_reads(stencil_plan(s, use)) == 0);
    }
  }
}

TEST_CASE("stencil_plan: nor those that read for strips of cells") {
  for (Conv2dShape s : {square(128, 32, 14, 64, 3, 1), square(32, 64, 56, 128, 3, 1), square(32, 128, 28, 256, 3, 1)}) {
    s.stride = 2;
    INFO(text(s));
    const StencilPlan plan = stencil_plan(s, StencilUse::input_gradient);
    CHECK(plan.problem.kernel == kCellKernel);
    CHECK(lost_reads(plan) == 0);
  }
}

TEST_CASE("stencil_plan: a gap between channels parts teams of 30 threads") {
  const StencilPlan plan = stencil_plan(square(4, 512, 7, 512, 3, 1), StencilUse::pool);
  REQUIRE(plan.tile.teams * plan.tile.team_threads() == 120);
  StencilPlan without = plan;
  without.tile.channel_pitch = plan.tile.images * plan.tile.image_pitch;
  CHECK(lost_reads(without) > 0);
}

TEST_CASE("conv2d_pool_forward: teams whose warps read two channels") {
  const Conv2dShape s = square(2, 9, 7, 20, 3, 1);
  const auto x = random_floats(std::size_t(s.input_size()), 1), w = random_floats(std::size_t(s.weight_size()), 2),
             bias = random_floats(std::size_t(s.filters), 3), dy = random_floats(std::size_t(s.output_size()), 4);
  const std::vector<double> expected = pooled(s, conv2d_reference(s, x, w, bias, dy).y);
  const GuardedBuffer<float> on_device(x), weights(w), biases(bias);
  GuardedBuffer<float> y(expected.size());
  conv2d_pool_forward(s, on_device.data(), weights.data(), biases.data(), y.data(), nullptr, Activation::none, 0.0f,
                      nullptr, Conv2dMethod::stencil);
  CHECK(y.guards_intact());
  CHECK(norm_error(y.download(), expected) < tolerance(s.patch() + 1));
}

TEST_CASE("conv2d_forward and conv2d_backward_input: even rows, wherever they begin and end") {
  struct Map {
    index_t height, width, kernel, padding;
  };
  for (const Map& map : {Map{5, 2, 3, 1},
                         {7, 14, 3, 1},
                         {9, 28, 3, 1},
                         {33, 70, 3, 1},
                         {8, 66, 3, 0},
                         {6, 6, 3, 2},
                         {8, 8, 5, 4},
                         {7, 12, 5, 0},
                         {5, 10, 5, 1},
                         {5, 13, 3, 1}}) {
    const Conv2dShape s{.batch = 3,
                        .channels = 5,
                        .height = map.height,
                        .width = map.width,
                        .filters = 6,
                        .kernel_height = map.kernel,
                        .kernel_width = map.kernel,
                        .padding = map.padding};
    const auto x = random_floats(std::size_t(s.input_size()), 1), w = random_floats(std::size_t(s.weight_size()), 2),
               bias = random_floats(std::size_t(s.filters), 3), dy = random_floats(std::size_t(s.output_size()), 4);
    const auto expected = conv2d_reference(s, x, w, bias, dy);
    const GuardedBuffer<float> weights(w), biases(bias);
    for (const std::size_t first : {0, 1, 2}) {
      INFO(text(s), ", first ", first);
      const auto from_there = [&](std::vector<float> values) {
        values.insert(values.begin(), first, 0.0f);
        return values;
      };
      const GuardedBuffer<float> on_device(from_there(x)), gradient(from_there(dy));
      GuardedBuffer<float> y(dy.size()), dx(x.size());
      conv2d_forward(s, on_device.data() + first, weights.data(), biases.data(), y.data(), Activation::none, nullptr,
                     Conv2dMethod::stencil);
      conv2d_backward_input(s, gradient.data() + first, weights.data(), dx.data(), nullptr, Conv2dMethod::stencil);
      CHECK(y.guards_intact());
      CHECK(dx.guards_intact());
      CHECK(norm_error(y.download(), expected.y) < tolerance(s.patch() + 1));
      CHECK(norm_error(dx.download(), expected.dx) < tolerance(s.filters * map.kernel * map.kernel));
    }
  }
}
