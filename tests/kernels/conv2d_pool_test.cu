// The fused block against its parts: y that of convolution, activation and pool (bit for bit by panels), the route an
// argmax of every window, the gradients those of plain double loops over the expanded gradient; between guard zones, by
// every method that the build has.
#include "kernels/conv2d_pool.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <string>

#include "kernels/conv2d_stencil.h"
#include "kernels/pool2d.h"
#include "kernels/require.h"
#include "tests/support/close.h"
#include "tests/support/conv2d_problem.h"
#include "tests/support/guarded_buffer.h"
#include "tests/support/reference/conv2d.h"

using namespace espalier;
using namespace espalier::kernels;
using namespace espalier::test;

namespace {

std::vector<Conv2dMethod> methods(const Conv2dShape& s) {
  std::vector<Conv2dMethod> all{Conv2dMethod::tiles};
  if (suits_stencil(s, StencilUse::pool)) all.push_back(Conv2dMethod::stencil);
  if (simt::kEmulated) all.push_back(Conv2dMethod::panels);
  return all;
}

constexpr float kSlope = 0.25f;

index_t windows_of(const Conv2dShape& s) { return s.out_height() / 2 * (s.out_width() / 2); }

struct Block {
  std::vector<float> y;
  std::vector<std::uint8_t> route;

  int place(const Conv2dShape& s, index_t plane, index_t window) const {
    const index_t bytes = (windows_of(s) + 3) / 4;
    return route[std::size_t(plane * bytes + window / 4)] >> (window % 4 * 2) & 3;
  }
};

struct Problem {
  Conv2dShape shape;
  std::vector<float> x, w, bias, dy;

  explicit Problem(const Conv2dShape& s)
      : shape(s),
        x(random_floats(std::size_t(s.input_size()), 1)),
        w(random_floats(std::size_t(s.weight_size()), 2)),
        bias(random_floats(std::size_t(s.filters), 3)),
        dy(random_floats(std::size_t(pool_of(s).output_size()), 4)) {}
};

Block forward(const Problem& p, Conv2dMethod method, Activation activation, bool with_bias) {
  const GuardedBuffer<float> x(p.x), w(p.w), bias(p.bias);
  GuardedBuffer<float> y(p.dy.size());
  GuardedBuffer<std::uint8_t> route(conv2d_pool_route_bytes(p.shape));
  conv2d_pool_forward(p.shape, x.data(), w.data(), with_bias ? bias.data() : nullptr, y.data(), route.data(),
                      activation, kSlope, nullptr, method);
  CHECK(y.guards_intact());
  CHECK(route.guards_intact());
  return {y.download(), route.download()};
}

// The same by two launchers. `z` is before activation and pool.
struct Parts {
  std::vector<float> z, y;
};

Parts by_parts(const Problem& p, Conv2dMethod method, Activation activation, bool with_bias) {
  const GuardedBuffer<float> x(p.x), w(p.w), bias(p.bias);
  const float* shift = with_bias ? bias.data() : nullptr;
  GuardedBuffer<float> z(std::size_t(p.shape.output_size())), y(p.dy.size());
  conv2d_forward(p.shape, x.data(), w.data(), shift, z.data(), activation, nullptr, method, kSlope);
  max_pool2d_forward(pool_of(p.shape), z.data(), y.data(), nullptr, nullptr);
  conv2d_forward(p.shape, x.data(), w.data(), shift, z.data(), Activation::none, nullptr, method);
  return {z.download(), y.download()};
}

// The gradient of the convolution's output that the pooled one and the route stand for.
std::vector<float> expanded(const Problem& p, const Block& block, Activation activation) {
  const Conv2dShape& s = p.shape;
  const index_t width = s.out_width(), across = width / 2;
  std::vector<float> dz(std::size_t(s.output_size()), 0.0f);
  for (index_t plane = 0; plane < s.batch * s.filters; ++plane) {
    for (index_t window = 0; window < windows_of(s); ++window) {
      const std::size_t i = std::size_t(plane * windows_of(s) + window);
      const int place = block.place(s, plane, window);
      const index_t row = window / across * 2 + place / 2, column = window % across * 2 + place % 2;
      const float slope = activation == Activation::relu ? 0.0f : activation == Activation::none ? 1.0f : kSlope;
      dz[std::size_t((plane * s.out_height() + row) * width + column)] = p.dy[i] * (block.y[i] <= 0 ? slope : 1.0f);
    }
  }
  return dz;
}

// Every place is one of a largest pixel, give or take the rounding of another order of summation.
void check_route(const Problem& p, const Block& block, const Parts& parts) {
  const Conv2dShape& s = p.shape;
  const float rounding = 1e-6f * float(s.patch() + 1);
  std::size_t wrong = 0;
  for (index_t plane = 0; plane < s.batch * s.filters; ++plane) {
    for (index_t window = 0; window < windows_of(s); ++window) {
      const index_t row = window / (s.out_width() / 2) * 2, column = window % (s.out_width() / 2) * 2;
      const float* z = parts.z.data() + (plane * s.out_height() + row) * s.out_width() + column;
      const float values[] = {z[0], z[1], z[s.out_width()], z[s.out_width() + 1]};
      const float chosen = values[block.place(s, plane, window)];
      for (float value : values) wrong += value > chosen + rounding ? 1 : 0;
    }
  }
  CHECK(wrong == 0);
}

struct Gradients {
  std::vector<float> dx, dw, db;
};

// By two launchers and by the one that computes both: the same bits.
Gradients backward(const Problem& p, const Block& block, Activation activation, Conv2dMethod method, bool with_bias,
                   index_t floats) {
  const GuardedBuffer<float> x(p.x), w(p.w), y(block.y), dy(p.dy);
  const GuardedBuffer<std::uint8_t> route(block.route);
  GuardedBuffer<float> dx(p.x.size()), dw(p.w.size()), db(p.bias.size()), workspace{std::size_t(floats)};
  conv2d_pool_backward_weight(p.shape, x.data(), y.data(), dy.data(), route.data(), dw.data(),
                              with_bias ? db.data() : nullptr, activation, kSlope, {workspace.data(), floats}, nullptr,
                              method);
  conv2d_pool_backward_input(p.shape, y.data(), dy.data(), route.data(), w.data(), dx.data(), activation, kSlope,
                             nullptr, method);
  const Gradients one_by_one{dx.download(), dw.download(), with_bias ? db.download() : std::vector<float>()};
  conv2d_pool_backward(p.shape, x.data(), y.data(), dy.data(), route.data(), w.data(), dx.data(), dw.data(),
                       with_bias ? db.data() : nullptr, activation, kSlope, {workspace.data(), floats}, nullptr,
                       method);
  CHECK(dx.download() == one_by_one.dx);
  CHECK(dw.download() == one_by_one.dw);
  if (with_bias) CHECK(db.download() == one_by_one.db);
  CHECK(dx.guards_intact());
  CHECK(dw.guards_intact());
  CHECK(db.guards_intact());
  CHECK(workspace.guards_intact());
  return one_by_one;
}

void check_block(const Conv2dShape& s, Activation activation = Activation::relu, bool with_bias = true) {
  const Problem p(s);
  const index_t pixels = s.batch * s.out_height() * s.out_width();
  for (Conv2dMethod method : methods(s)) {
    INFO(text(s), ", method ", int(method), ", activation ", int(activation));
    const Block block = forward(p, method, activation, with_bias);
    const Parts parts = by_parts(p, method, activation, with_bias);
    if (method == Conv2dMethod::panels) CHECK(block.y == parts.y);
    CHECK(norm_error(block.y, std::vector<double>(parts.y.begin(), parts.y.end())) < tolerance(s.patch() + 1));
    check_route(p, block, parts);
    const Conv2dInDouble expected = conv2d_reference(s, p.x, p.w, p.bias, expanded(p, block, activation));
    const Gradients split =
        backward(p, block, activation, method, true, conv2d_pool_backward_weight_workspace(s, method));
    CHECK(norm_error(split.dx, expected.dx) < tolerance(s.patch() * s.filters / s.channels));
    CHECK(norm_error(split.dw, expected.dw) < tolerance(pixels));
    CHECK(norm_error(split.db, expected.db) < tolerance(pixels));
    const Gradients whole = backward(p, block, activation, method, false, 0);
    CHECK(norm_error(whole.dw, expected.dw) < tolerance(pixels));
  }
}

}  // namespace

TEST_CASE("conv2d_pool: every option equals convolution, activation and pool") {
  const Conv2dShape square{
      .batch = 2, .channels = 3, .height = 9, .width = 8, .filters = 5, .kernel_height = 3, .kernel_width = 3};
  const auto with = [&](auto change) {
    Conv2dShape s = square;
    change(s);
    return s;
  };
  for (Activation activation : {Activation::none, Activation::relu, Activation::leaky_relu}) {
    check_block(square, activation);
    check_block(square, activation, false);
  }
  check_block(with([](Conv2dShape& s) { s.padding = 1; }));
  check_block(with([](Conv2dShape& s) { s.stride = 2; }));
  check_block(with([](Conv2dShape& s) { s.dilation = 2, s.padding = 1; }));
  check_block(with([](Conv2dShape& s) { s.stride = 3, s.dilation = 2, s.padding = 4; }));
  check_block(with([](Conv2dShape& s) { s.channels = 6, s.filters = 4, s.groups = 2, s.padding = 1; }));
  check_block(with([](Conv2dShape& s) { s.filters = 3, s.groups = 3, s.padding = 1; }));
  check_block(with([](Conv2dShape& s) { s.kernel_height = s.kernel_width = 5, s.padding = 2; }));
}

TEST_CASE("conv2d_pool: one window, odd sizes that lose a row or a column, windows that do not fill a byte") {
  check_block({.height = 2, .width = 2});
  for (index_t height : {3, 4, 5}) {
    for (index_t width : {3, 6, 7, 10, 11, 14, 27}) {
      check_block({.batch = 3, .height = height, .width = width, .filters = 3});
    }
  }
  check_block({.batch = 2, .height = 31, .width = 29, .filters = 3, .kernel_height = 3, .kernel_width = 3});
  check_block({.height = 50, .width = 46, .filters = 2, .kernel_height = 3, .kernel_width = 3, .padding = 1});
  check_block({.height = 4, .width = 301, .filters = 2, .kernel_height = 3, .kernel_width = 3, .padding = 1});
}

TEST_CASE("conv2d_pool: one less and one more than a tile or a panel holds") {
  for (index_t filters : {7, 8, 9, 10, 11, 31, 33, 65}) {
    check_block({.channels = 2, .height = 6, .width = 7, .filters = filters, .kernel_height = 3, .kernel_width = 3});
  }
  for (index_t channels : {15, 16, 17}) {
    check_block({.channels = channels,
                 .height = 5,
                 .width = 6,
                 .filters = 2,
                 .kernel_height = 3,
                 .kernel_width = 3,
                 .padding = 1});
  }
}

TEST_CASE("conv2d_pool: the layers of lenet-5 and of the seed cnn") {
  const index_t batch = simt::kEmulated ? 9 : 1;
  check_block({.batch = batch, .height = 28, .width = 28, .filters = 20, .kernel_height = 5, .kernel_width = 5});
  check_block({.batch = batch,
               .channels = 20,
               .height = 12,
               .width = 12,
               .filters = 50,
               .kernel_height = 5,
               .kernel_width = 5});
  check_block(
      {.batch = batch, .height = 28, .width = 28, .filters = 32, .kernel_height = 3, .kernel_width = 3, .padding = 1});
  check_block({.batch = 2,
               .channels = 32,
               .height = 14,
               .width = 14,
               .filters = 64,
               .kernel_height = 3,
               .kernel_width = 3,
               .padding = 1});
}

TEST_CASE("conv2d_pool: the first of equal maxima wins, and NaN shows") {
  Problem p({.batch = 2, .height = 8, .width = 8, .filters = 2, .kernel_height = 3, .kernel_width = 3});
  p.x.assign(p.x.size(), 1.0f);
  p.x[3] = std::numeric_limits<float>::quiet_NaN();  // seen from column 1 on
  for (Conv2dMethod method : methods(p.shape)) {
    const Block block = forward(p, method, Activation::relu, true);
    CHECK(std::isnan(block.y[0]));
    CHECK(block.place(p.shape, 0, 0) == 1);
    for (index_t window = 1; window < 9; ++window) CHECK(block.place(p.shape, 1, window) == 0);
  }
}

TEST_CASE("conv2d_pool: gives the same bits again, and without a route the same y") {
  const Problem p({.batch = 20,
                   .channels = 3,
                   .height = 7,
                   .width = 6,
                   .filters = 5,
                   .kernel_height = 3,
                   .kernel_width = 3,
                   .padding = 1});
  for (Conv2dMethod method : methods(p.shape)) {
    const Block first = forward(p, method, Activation::relu, true), second = forward(p, method, Activation::relu, true);
    CHECK(first.y == second.y);
    CHECK(first.route == second.route);
    const index_t floats = conv2d_pool_backward_weight_workspace(p.shape, method);
    const Gradients one = backward(p, first, Activation::relu, method, true, floats);
    const Gradients two = backward(p, first, Activation::relu, method, true, floats);
    CHECK(one.dx == two.dx);
    CHECK(one.dw == two.dw);
    CHECK(one.db == two.db);
    const GuardedBuffer<float> x(p.x), w(p.w), bias(p.bias);
    GuardedBuffer<float> y(p.dy.size());
    conv2d_pool_forward(p.shape, x.data(), w.data(), bias.data(), y.data(), nullptr, Activation::relu, kSlope, nullptr,
                        method);
    CHECK(y.download() == first.y);
  }
}

TEST_CASE("conv2d_pool: says what is wrong with a block") {
  const auto complaint = [](const Conv2dShape& s, Activation activation, float slope) -> std::string {
    try {
      conv2d_pool_forward(s, nullptr, nullptr, nullptr, nullptr, nullptr, activation, slope, nullptr);
      return "";
    } catch (const InvalidArgument& error) {
      return error.what();
    }
  };
  CHECK(
      complaint({.height = 5, .width = 1}, Activation::relu, 0.0f) ==
      "conv2d_pool_forward: the convolution's output of 5 x 1 is smaller than the pool's window of 2 x 2; pad more or "
      "leave the pool away");
  CHECK(complaint({.height = 5, .width = 5}, Activation::gelu, 0.0f).find("none, relu or leaky_relu") !=
        std::string::npos);
  CHECK(complaint({.height = 5, .width = 5}, Activation::leaky_relu, -1.0f).find("slope -1") != std::string::npos);
}

TEST_CASE("conv2d_pool: a route that does not begin with a word is refused by every launcher") {
  constexpr Conv2dShape s{.height = 5, .width = 5};
  const auto relu = Activation::relu;
  GuardedBuffer<std::uint8_t> words(conv2d_pool_route_bytes(s) + 4);
  for (const int beyond : {1, 2, 3}) {
    std::uint8_t* const route = words.data() + beyond;
    CHECK_THROWS_AS(conv2d_pool_forward(s, nullptr, nullptr, nullptr, nullptr, route, relu, 0.0f, nullptr),
                    InvalidArgument);
    CHECK_THROWS_AS(
        conv2d_pool_backward_weight(s, nullptr, nullptr, nullptr, route, nullptr, nullptr, relu, 0.0f, {}, nullptr),
        InvalidArgument);
    CHECK_THROWS_AS(conv2d_pool_backward_input(s, nullptr, nullptr, route, nullptr, nullptr, relu, 0.0f, nullptr),
                    InvalidArgument);
    CHECK_THROWS_AS(conv2d_pool_backward(s, nullptr, nullptr, nullptr, route, nullptr, nullptr, nullptr, nullptr, relu,
                                         0.0f, {}, nullptr),
                    InvalidArgument);
  }
}
