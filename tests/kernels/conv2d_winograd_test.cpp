// Winograd's convolution against plain loops in double: both directions, odd sizes, tile edges, chunks of a batch,
// between guard zones.
#include "kernels/conv2d_winograd.h"

#include <doctest/doctest.h>

#include "kernels/require.h"
#include "tests/support/close.h"
#include "tests/support/conv2d_problem.h"
#include "tests/support/guarded_buffer.h"
#include "tests/support/reference/conv2d.h"

using namespace espalier;
using namespace espalier::kernels;
using namespace espalier::test;

namespace {

constexpr auto kWinograd = Conv2dMethod::winograd;

Conv2dShape layer(index_t batch, index_t channels, index_t height, index_t width, index_t filters, index_t padding) {
  return {.batch = batch,
          .channels = channels,
          .height = height,
          .width = width,
          .filters = filters,
          .kernel_height = 3,
          .kernel_width = 3,
          .padding = padding};
}

struct Problem {
  Conv2dShape shape;
  std::vector<float> x, w, bias, dy;

  explicit Problem(const Conv2dShape& s)
      : shape(s),
        x(random_floats(std::size_t(s.input_size()), 1)),
        w(random_floats(std::size_t(s.weight_size()), 2)),
        bias(random_floats(std::size_t(s.filters), 3)),
        dy(random_floats(std::size_t(s.output_size()), 4)) {}
  Conv2dInDouble expected() const { return conv2d_reference(shape, x, w, bias, dy); }
};

std::vector<float> forward(const Problem& p, Activation activation = Activation::none) {
  const index_t floats = conv2d_forward_workspace(p.shape, kWinograd);
  const GuardedBuffer<float> x(p.x), w(p.w), bias(p.bias);
  GuardedBuffer<float> y(p.dy.size()), workspace{std::size_t(floats)};
  conv2d_forward(p.shape, x.data(), w.data(), bias.data(), y.data(), activation, nullptr, kWinograd, 0.25f,
                 {workspace.data(), floats});
  CHECK(y.guards_intact());
  CHECK(workspace.guards_intact());
  return y.download();
}

std::vector<float> backward_input(const Problem& p) {
  const index_t floats = conv2d_backward_input_workspace(p.shape, kWinograd);
  const GuardedBuffer<float> dy(p.dy), w(p.w);
  GuardedBuffer<float> dx(p.x.size()), workspace{std::size_t(floats)};
  conv2d_backward_input(p.shape, dy.data(), w.data(), dx.data(), nullptr, kWinograd, {workspace.data(), floats});
  CHECK(dx.guards_intact());
  CHECK(workspace.guards_intact());
  return dx.download();
}

// The transforms multiply by up to 8 and cancel: three times the error of a plain sum.
double winograd_tolerance(index_t depth) { return 3 * tolerance(depth); }

void check_both_directions(const Conv2dShape& s) {
  const Problem p(s);
  const Conv2dInDouble expected = p.expected();
  INFO(text(s));
  CHECK(norm_error(forward(p), expected.y) < winograd_tolerance(9 * s.channels));
  CHECK(norm_error(backward_input(p), expected.dx) < winograd_tolerance(9 * s.filters));
}

}  // namespace

TEST_CASE("conv2d winograd: equals plain loops in double, for every remainder of a tile and every padding") {
  for (index_t size : {3, 4, 5, 6, 7, 13, 14}) {
    for (index_t padding : {0, 1, 2}) check_both_directions(layer(2, 3, size, size, 5, padding));
  }
  check_both_directions(layer(1, 1, 1, 1, 1, 1));
  check_both_directions(layer(3, 2, 6, 11, 7, 3));
  check_both_directions(layer(2, 2, 3, 5, 3, 5));
  check_both_directions(layer(1, 2, 2, 257, 3, 1));
  check_both_directions(layer(1, 1, 5, 1031, 2, 1));
}

TEST_CASE("conv2d winograd: one less and one more than the products' tiles hold") {
  check_both_directions(layer(1, 64, 14, 14, 64, 1));
  check_both_directions(layer(1, 63, 7, 7, 65, 1));
  check_both_directions(layer(9, 17, 14, 13, 33, 1));
  check_both_directions(layer(33, 31, 7, 7, 129, 1));
  check_both_directions(layer(2, 130, 13, 13, 127, 0));
}

TEST_CASE("conv2d winograd: maps of 28 and 56 pixels, of which blocks hold several lines and images") {
  check_both_directions(layer(3, 2, 28, 28, 3, 1));
  check_both_directions(layer(2, 2, 56, 56, 3, 1));
}

TEST_CASE("conv2d winograd: rows of whole chunks, of an even and of an odd width, in blocks of images or of lines") {
  for (index_t width : {4, 8, 10, 12, 16, 18}) check_both_directions(layer(5, 3, 9, width, 2, 1));
  check_both_directions(layer(19, 9, 7, 7, 11, 1));
  check_both_directions(layer(10, 3, 14, 14, 5, 1));
  check_both_directions(layer(3, 1, 27, 27, 2, 1));
  check_both_directions(layer(3, 1, 30, 30, 2, 1));
  check_both_directions(layer(2, 1, 30, 30, 1, 0));
  check_both_directions(layer(2, 9, 3, 3, 1, 5));
}

TEST_CASE("conv2d winograd: images may begin at any float") {
  for (index_t side : {7, 8, 14}) {
    const Problem p(layer(3, 3, side, side, 3, 1));
    const WinogradProblem problem(p.shape, WinogradUse::forward);
    const index_t floats = winograd_workspace(p.shape, WinogradUse::forward, kWinograd);
    const GuardedBuffer<float> w(p.w);
    GuardedBuffer<float> workspace{std::size_t(floats)};
    for (std::size_t offset : {1, 2, 3}) {
      std::vector<float> shifted(offset);
      shifted.insert(shifted.end(), p.x.begin(), p.x.end());
      const GuardedBuffer<float> x(shifted);
      GuardedBuffer<float> y(offset + p.dy.size());
      conv2d_winograd(problem, x.data() + offset, w.data(), nullptr, y.data() + offset, 1.0f,
                      {workspace.data(), floats}, nullptr);
      CHECK(y.guards_intact());
      std::vector<float> result = y.download();
      result.erase(result.begin(), result.begin() + std::ptrdiff_t(offset));
      Problem without_bias = p;
      without_bias.bias.assign(p.bias.size(), 0.0f);
      CHECK(norm_error(result, without_bias.expected().y) < winograd_tolerance(27));
    }
  }
}

TEST_CASE("conv2d winograd: a batch in chunks gives the bits of its images one by one") {
  const Conv2dShape batch = layer(4, 1, 56, 56, 400, 1);  // in two chunks of two
  const Problem all(batch);
  const std::vector<float> y = forward(all), dx = backward_input(all);
  Conv2dShape one = batch;
  one.batch = 1;
  CHECK(conv2d_forward_workspace(batch, kWinograd) < 4 * conv2d_forward_workspace(one, kWinograd));
  Problem image(one);
  const auto part = [](const std::vector<float>& of, index_t size, index_t n) {
    return std::vector<float>(of.begin() + n * size, of.begin() + (n + 1) * size);
  };
  for (index_t n : {1, 2}) {
    image.x = part(all.x, one.input_size(), n), image.dy = part(all.dy, one.output_size(), n);
    CHECK(forward(image) == part(y, one.output_size(), n));
    CHECK(backward_input(image) == part(dx, one.input_size(), n));
  }
}

TEST_CASE("conv2d winograd: fuses bias and activation") {
  const Problem p(layer(2, 3, 9, 7, 5, 1));
  const std::vector<double> plain = p.expected().y;
  std::vector<double> relu = plain, leaky = plain, tanh = plain;
  for (double& y : relu) y = std::max(y, 0.0);
  for (double& y : leaky) y = y <= 0 ? 0.25 * y : y;
  for (double& y : tanh) y = std::tanh(y);
  CHECK(norm_error(forward(p, Activation::relu), relu) < winograd_tolerance(27));
  CHECK(norm_error(forward(p, Activation::leaky_relu), leaky) < winograd_tolerance(27));
  CHECK(norm_error(forward(p, Activation::tanh), tanh) < winograd_tolerance(27));
}

TEST_CASE("conv2d winograd: both gradients in one go are those of one after the other") {
  const Problem p(layer(3, 6, 9, 7, 10, 1));
  const index_t floats = conv2d_backward_workspace(p.shape, kWinograd);
  const GuardedBuffer<float> x(p.x), w(p.w), dy(p.dy);
  GuardedBuffer<float> dx(p.x.size()), dw(p.w.size()), db(p.bias.size()), workspace{std::size_t(floats)};
  conv2d_backward(p.shape, x.data(), dy.data(), w.data(), dx.data(), dw.data(), db.data(), {workspace.data(), floats},
                  nullptr, kWinograd);
  const Conv2dInDouble expected = p.expected();
  CHECK(dx.download() == backward_input(p));
  CHECK(norm_error(dw.download(), expected.dw) < tolerance(3 * 9 * 7));
  CHECK(norm_error(db.download(), expected.db) < tolerance(3 * 9 * 7));
  CHECK(workspace.guards_intact());
}

TEST_CASE("conv2d winograd: is fastest on a GPU for many channels only, and only with its workspace") {
  const Conv2dShape many = layer(32, 128, 28, 28, 128, 1);
  CHECK((conv2d_forward_workspace(many) > 0) == !simt::kEmulated);
  CHECK((conv2d_backward_input_workspace(many) > 0) == !simt::kEmulated);
  CHECK(conv2d_forward_workspace(layer(32, 32, 28, 28, 128, 1)) == 0);
  CHECK(conv2d_forward_workspace(layer(1, 512, 7, 7, 512, 1)) == 0);  // the weights alone take longer
  Conv2dShape strided = many;
  strided.stride = 2;
  CHECK(conv2d_forward_workspace(strided) == 0);
  CHECK_FALSE(runs_winograd(many, WinogradUse::forward, Conv2dMethod::fastest, {}));
}

TEST_CASE("conv2d winograd: says what it cannot do") {
  const auto complaint = [](const Conv2dShape& s) -> std::string {
    try {
      runs_winograd(s, WinogradUse::forward, kWinograd, {});
      return "";
    } catch (const InvalidArgument& error) {
      return error.what();
    }
  };
  Conv2dShape grouped = layer(1, 2, 5, 5, 2, 1);
  grouped.groups = 2;
  CHECK(complaint(grouped) ==
        "conv2d: winograd takes 3x3 kernels, stride 1, dilation 1 and one group; this one is 3 x 3, stride 1, dilation "
        "1, 2 groups on a width of 5; use fastest");
  CHECK(complaint(layer(1, 1, 4, 4, 1, 1)).find("floats; got 0") != std::string::npos);
}
