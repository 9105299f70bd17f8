// Convolution against plain loops in double: every option, odd and prime sizes, tile edges, between guard zones, by
// every method that the build has.
#include <cmath>
#include <string>

#include "kernels/require.h"
#include "tests/support/conv2d_directions.h"
#include "tests/support/golden.h"

using namespace espalier;
using namespace espalier::kernels;
using namespace espalier::test;

namespace {

// Both gradients in one go: the bits of one after the other.
void check_both(const Conv2dCase& p, Conv2dMethod method, bool with_bias) {
  const index_t floats = conv2d_backward_weight_workspace(p.shape, method);
  const GuardedBuffer<float> x(p.x), w(p.w), dy(p.dy);
  GuardedBuffer<float> dx(p.x.size()), dw(p.w.size()), db(p.bias.size()), workspace{std::size_t(floats)};
  conv2d_backward(p.shape, x.data(), dy.data(), w.data(), dx.data(), dw.data(), with_bias ? db.data() : nullptr,
                  {workspace.data(), floats}, nullptr, method);
  const WeightGradient expected = backward_weight(p, method, with_bias, floats);
  CHECK(dx.download() == backward_input(p, method));
  CHECK(dw.download() == expected.dw);
  if (with_bias) CHECK(db.download() == expected.db);
  CHECK(dx.guards_intact());
  CHECK(dw.guards_intact());
  CHECK(db.guards_intact());
  CHECK(workspace.guards_intact());
}

double activated(Activation activation, double x) {
  switch (activation) {
    case Activation::none:
      return x;
    case Activation::relu:
      return x <= 0 ? 0 : x;
    case Activation::leaky_relu:
      return x <= 0 ? double(kDefaultLeakySlope) * x : x;
    case Activation::gelu:
      return x / 2 * (1 + std::erf(x / std::sqrt(2.0)));
    case Activation::sigmoid:
      return 1 / (1 + std::exp(-x));
    case Activation::tanh:
      return std::tanh(x);
  }
  return x;
}

}  // namespace

TEST_CASE("conv2d: every option equals plain loops in double") {
  const Conv2dShape square{
      .batch = 2, .channels = 3, .height = 9, .width = 8, .filters = 5, .kernel_height = 3, .kernel_width = 3};
  const auto with = [&](auto change) {
    Conv2dShape s = square;
    change(s);
    return s;
  };
  check_all_directions({});
  check_all_directions(square);
  check_all_directions(with([](Conv2dShape& s) { s.padding = 1; }));
  check_all_directions(with([](Conv2dShape& s) { s.stride = 2; }));
  check_all_directions(with([](Conv2dShape& s) { s.stride = 2, s.padding = 2, s.kernel_width = 2; }));
  check_all_directions(with([](Conv2dShape& s) { s.dilation = 2, s.padding = 1; }));
  check_all_directions(with([](Conv2dShape& s) { s.stride = 3, s.dilation = 2, s.padding = 4; }));
  check_all_directions(with([](Conv2dShape& s) { s.stride = 2, s.dilation = 4, s.padding = 3, s.height = 13; }));
  check_all_directions(with([](Conv2dShape& s) { s.stride = 4, s.dilation = 2, s.padding = 2, s.width = 17; }));
  check_all_directions(with([](Conv2dShape& s) { s.channels = 6, s.filters = 4, s.groups = 2, s.padding = 1; }));
  check_all_directions(with([](Conv2dShape& s) { s.filters = 3, s.groups = 3, s.padding = 1; }));
  check_all_directions(with([](Conv2dShape& s) { s.filters = 6, s.groups = 3, s.stride = 2, s.padding = 1; }));
}

TEST_CASE("conv2d: kernels of one pixel, as large as the image, larger than it, and strides beyond the kernel") {
  check_all_directions({.batch = 2, .channels = 7, .height = 5, .width = 3, .filters = 11});
  check_all_directions({.batch = 2, .channels = 3, .height = 7, .width = 7, .filters = 5, .stride = 3});
  check_all_directions(
      {.batch = 37, .channels = 3, .height = 4, .width = 5, .filters = 7, .kernel_height = 4, .kernel_width = 5});
  check_all_directions({.batch = 2,
                        .channels = 2,
                        .height = 8,
                        .width = 8,
                        .filters = 3,
                        .kernel_height = 2,
                        .kernel_width = 2,
                        .stride = 4});
  check_all_directions(
      {.batch = 2, .height = 3, .width = 3, .filters = 2, .kernel_height = 5, .kernel_width = 5, .padding = 3});
  check_all_directions({.channels = 2, .height = 1, .width = 19, .filters = 3, .kernel_height = 1, .kernel_width = 7});
}

TEST_CASE("conv2d: one less and one more than a tile or a panel holds, along every axis") {
  for (index_t filters : {31, 33, 65})
    check_all_directions(
        {.channels = 2, .height = 6, .width = 7, .filters = filters, .kernel_height = 3, .kernel_width = 3});
  for (index_t channels : {15, 16, 17})
    check_all_directions({.channels = channels, .height = 4, .width = 4, .filters = 2});
  for (index_t width : {31, 32, 33, 127, 128, 129, 257})
    check_all_directions(
        {.height = 2, .width = width, .filters = 2, .kernel_height = 2, .kernel_width = 2, .padding = 1});
  check_all_directions({.channels = 58,
                        .height = 4,
                        .width = 3,
                        .filters = 2,
                        .kernel_height = 3,
                        .kernel_width = 3,
                        .padding = 1});  // over a table of taps
  check_all_directions(
      {.channels = 30, .height = 4, .width = 3, .filters = 70, .kernel_height = 3, .kernel_width = 3, .padding = 1});
}

TEST_CASE("conv2d: a large tile, with its rests") {
  const index_t width = simt::kEmulated ? 8 * 128 + 1 : 132 * 128 + 1;  // enough blocks for it to be chosen
  check_all_directions({.channels = 17, .height = 1, .width = width, .filters = 67});
  check_all_directions({.channels = 67, .height = 1, .width = width, .filters = 17});
}

TEST_CASE("conv2d: 3x3 and 5x5 kernels over maps of every remainder, cropped, and over many channels") {
  for (index_t size : {5, 6, 7, 8, 9, 13}) {
    for (index_t padding : {0, 1, 4, 7}) {
      check_all_directions({.batch = 3,
                            .channels = 3,
                            .height = size,
                            .width = size + 3,
                            .filters = 4,
                            .kernel_height = 5,
                            .kernel_width = 5,
                            .padding = padding});
    }
  }
  for (index_t channels : {1, 4, 5, 8, 9, 13, 20}) {
    check_all_directions({.batch = 2,
                          .channels = channels,
                          .height = 7,
                          .width = 6,
                          .filters = 83,
                          .kernel_height = 3,
                          .kernel_width = 3,
                          .padding = 1});
  }
  check_all_directions({.height = 41, .width = 301, .filters = 9, .kernel_height = 3, .kernel_width = 3, .padding = 1});
  check_all_directions(
      {.channels = 3, .height = 63, .width = 60, .filters = 18, .kernel_height = 5, .kernel_width = 5, .padding = 2});
}

TEST_CASE("conv2d: 3x3 kernels over maps that fit whole and in parts, for lanes of one and of several warps to share") {
  const index_t batch = simt::kEmulated ? 5 : 2;
  check_all_directions(
      {.batch = batch, .height = 28, .width = 28, .filters = 32, .kernel_height = 3, .kernel_width = 3});
  check_all_directions({.batch = batch,
                        .channels = 32,
                        .height = 13,
                        .width = 13,
                        .filters = 64,
                        .kernel_height = 3,
                        .kernel_width = 3});
  check_all_directions({.batch = batch,
                        .channels = 16,
                        .height = 28,
                        .width = 28,
                        .filters = 16,
                        .kernel_height = 3,
                        .kernel_width = 3,
                        .padding = 1});
}

TEST_CASE("conv2d: the layers of lenet-5") {
  const index_t batch = simt::kEmulated ? 9 : 1;
  check_all_directions(
      {.batch = batch, .height = 28, .width = 28, .filters = 20, .kernel_height = 5, .kernel_width = 5});
  check_all_directions({.batch = batch,
                        .channels = 20,
                        .height = 12,
                        .width = 12,
                        .filters = 50,
                        .kernel_height = 5,
                        .kernel_width = 5});
}

TEST_CASE("conv2d_forward: fuses every activation, and bias may be absent") {
  const Conv2dCase p(
      {.batch = 3, .channels = 2, .height = 5, .width = 7, .filters = 5, .kernel_height = 3, .kernel_width = 3});
  const std::size_t plane = std::size_t(p.shape.out_height() * p.shape.out_width());
  for (Conv2dMethod method : methods(p.shape)) {
    for (Activation activation : {Activation::none, Activation::relu, Activation::leaky_relu, Activation::gelu,
                                  Activation::sigmoid, Activation::tanh}) {
      INFO("method ", int(method), ", activation ", int(activation));
      std::vector<double> expected = p.expected.y, plain = p.expected.y;
      for (std::size_t i = 0; i < plain.size(); ++i) {
        plain[i] = activated(activation, plain[i] - double(p.bias[i / plane % p.bias.size()]));
        expected[i] = activated(activation, expected[i]);
      }
      CHECK(norm_error(forward(p, method, activation, true), expected) < tolerance(p.shape.patch() + 1));
      CHECK(norm_error(forward(p, method, activation, false), plain) < tolerance(p.shape.patch()));
    }
  }
}

TEST_CASE("conv2d: agrees with PyTorch") {
  constexpr double kGoldenTolerance = 5e-6;  // both sides round: twice the tolerance of the longest sum here, 200 terms
  for (const GoldenCase& golden : golden_cases("conv2d")) {
    const auto &x = golden["x"].shape, &w = golden["w"].shape;
    const Conv2dShape s{.batch = x[0],
                        .channels = x[1],
                        .height = x[2],
                        .width = x[3],
                        .filters = w[0],
                        .kernel_height = w[2],
                        .kernel_width = w[3],
                        .stride = golden.attribute<index_t>("stride"),
                        .padding = golden.attribute<index_t>("padding"),
                        .dilation = golden.attribute<index_t>("dilation"),
                        .groups = golden.attribute<index_t>("groups")};
    Conv2dCase p(s);
    p.x = golden["x"].values, p.w = golden["w"].values, p.bias = golden["b"].values, p.dy = golden["dy"].values;
    for (Conv2dMethod method : methods(s)) {
      INFO(golden.name, ", method ", int(method));
      const WeightGradient gradient = backward_weight(p, method, true, conv2d_backward_weight_workspace(s, method));
      CHECK(norm_error(forward(p, method, Activation::none, true), golden["y"].values) < kGoldenTolerance);
      CHECK(norm_error(backward_input(p, method), golden["dx"].values) < kGoldenTolerance);
      CHECK(norm_error(gradient.dw, golden["dw"].values) < kGoldenTolerance);
      CHECK(norm_error(gradient.db, golden["db"].values) < kGoldenTolerance);
    }
  }
}

TEST_CASE("conv2d: gives the same bits again") {
  const Conv2dCase p({.batch = 20,
                      .channels = 3,
                      .height = 7,
                      .width = 6,
                      .filters = 5,
                      .kernel_height = 3,
                      .kernel_width = 3,
                      .padding = 1});
  for (Conv2dMethod method : methods(p.shape)) {
    const index_t floats = conv2d_backward_weight_workspace(p.shape, method);
    const WeightGradient first = backward_weight(p, method, true, floats),
                         second = backward_weight(p, method, true, floats);
    CHECK(first.dw == second.dw);
    CHECK(first.db == second.db);
    CHECK(backward_input(p, method) == backward_input(p, method));
    CHECK(forward(p, method, Activation::relu, true) == forward(p, method, Activation::relu, true));
  }
}

TEST_CASE("conv2d_backward: gives the bits of the two gradients one after the other") {
  for (index_t batch : {1, 2, 33}) {
    for (index_t groups : {1, 2}) {
      const Conv2dCase p({.batch = batch,
                          .channels = 6,
                          .height = 7,
                          .width = 6,
                          .filters = 10,
                          .kernel_height = 3,
                          .kernel_width = 3,
                          .padding = 1,
                          .groups = groups});
      for (Conv2dMethod method : methods(p.shape)) {
        INFO(text(p.shape), ", method ", int(method));
        check_both(p, method, true);
        check_both(p, method, false);
      }
    }
  }
  // More pieces of a sum than rows of the grid, the last one short.
  const Conv2dCase wide(
      {.batch = 3, .channels = 131, .height = 6, .width = 5, .filters = 9, .kernel_height = 3, .kernel_width = 3});
  for (Conv2dMethod method : methods(wide.shape)) {
    if (method != Conv2dMethod::direct) check_both(wide, method, true);  // a block a weight: slow on a CPU
  }
}

TEST_CASE("conv2d_forward: with a workspace tiles share what one of them would have to sum") {
  const Conv2dCase p({.batch = 3,
                      .channels = 65,
                      .height = 7,
                      .width = 6,
                      .filters = 70,
                      .kernel_height = 3,
                      .kernel_width = 3,
                      .stride = 2,
                      .padding = 1});
  const index_t floats = conv2d_forward_workspace(p.shape, Conv2dMethod::tiles);
  REQUIRE(floats > 0);
  const GuardedBuffer<float> x(p.x), w(p.w);
  GuardedBuffer<float> y(p.dy.size()), workspace{std::size_t(floats)};
  conv2d_forward(p.shape, x.data(), w.data(), nullptr, y.data(), Activation::none, nullptr, Conv2dMethod::tiles, 0.0f,
                 {workspace.data(), floats});
  const std::vector<float> whole = forward(p, Conv2dMethod::tiles, Activation::none, false);
  CHECK(norm_error(y.download(), whole) < tolerance(p.shape.patch()));
  CHECK(y.guards_intact());
  CHECK(workspace.guards_intact());
}

TEST_CASE("conv2d_backward_bias: sums dy over batch and pixels") {
  const Conv2dCase p(
      {.batch = 5, .channels = 2, .height = 6, .width = 5, .filters = 3, .kernel_height = 2, .kernel_width = 2});
  const GuardedBuffer<float> dy(p.dy);
  GuardedBuffer<float> db(p.bias.size());
  GuardedBuffer<unsigned char> workspace(conv2d_backward_bias_workspace_bytes(p.shape));
  conv2d_backward_bias(p.shape, dy.data(), db.data(), workspace.data(), nullptr);
  CHECK(norm_error(db.download(), p.expected.db) < tolerance(100));
  CHECK(db.guards_intact());
}

TEST_CASE("conv2d: says what is wrong with a shape") {
  const auto complaint = [](const Conv2dShape& s) -> std::string {
    try {
      require_valid(s, "conv2d_forward");
      return "";
    } catch (const InvalidArgument& error) {
      return error.what();
    }
  };
  CHECK(complaint({.channels = 3, .height = 2, .width = 2, .kernel_height = 3, .kernel_width = 3}) ==
        "conv2d_forward: a kernel of 3 x 3 with dilation 1 does not fit into an image of 2 x 2 with padding 0; pad "
        "more or take a smaller kernel");
  CHECK(complaint({.channels = 3, .height = 2, .width = 2, .filters = 4, .groups = 2}) ==
        "conv2d_forward: 2 groups do not divide 3 channels and 4 filters");
  CHECK(complaint({.stride = 0}).find("stride 0") != std::string::npos);
  CHECK(complaint({.batch = 0}).find("[0, 1, 1, 1]") != std::string::npos);
}
