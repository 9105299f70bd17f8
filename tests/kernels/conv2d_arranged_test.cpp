// The convolution of an inference on tensor cores: the bits of conv2d_forward_tensor_core() on rounded operands, and of
// the pool behind it.
#include "kernels/conv2d_arranged.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "kernels/conv2d_tensor_core.h"
#include "kernels/require.h"
#include "tests/support/close.h"
#include "tests/support/conv2d_problem.h"
#include "tests/support/guarded_buffer.h"
#include "tests/support/narrow.h"

namespace espalier::test {
namespace {

using kernels::Activation;
using kernels::Conv2dLayout;
using kernels::Conv2dShape;
using kernels::ConvPool;
using kernels::half;
using kernels::index_t;

constexpr float kSlope = 0.125f;

struct Operands {
  std::vector<float> x, w, bias;
  explicit Operands(const Conv2dShape& s)
      : x(random_floats(std::size_t(s.input_size()), 1)),
        w(random_floats(std::size_t(s.weight_size()), 2)),
        bias(random_floats(std::size_t(s.filters), 3)) {}
};

template <class T>
std::vector<float> forward(const Conv2dShape& s, const Operands& of, Activation activation) {
  const auto method = kernels::TensorCoreMethod::tensor_cores;
  const GuardedBuffer<T> x(rounded<T>(of.x)), w(rounded<T>(of.w));
  const GuardedBuffer<float> bias(of.bias);
  GuardedBuffer<float> y(std::size_t(s.output_size()));
  const index_t floats = kernels::conv2d_tensor_core_workspace(s, Conv2dLayout::nchw, kernels::Conv2dDirection::forward,
                                                               kernels::kPrecisionOf<T>, method);
  GuardedBuffer<float> workspace{std::size_t(floats)};
  kernels::conv2d_forward_tensor_core(s, Conv2dLayout::nchw, x.data(), w.data(), bias.data(), y.data(), activation,
                                      {workspace.data(), floats}, nullptr, method, kSlope);
  return y.download();
}

template <class T>
std::vector<float> arranged(const Conv2dShape& s, const Operands& of, Activation activation, ConvPool pool) {
  const index_t step = pool == ConvPool::halves ? 2 : 1, floats = kernels::conv2d_arranged_workspace<T>(s);
  const GuardedBuffer<float> x(of.x), bias(of.bias);
  const GuardedBuffer<T> w(rounded<T>(of.w));
  GuardedBuffer<T> weight{std::size_t(kernels::conv2d_arranged_size(s))};
  GuardedBuffer<float> workspace{std::size_t(floats)};
  GuardedBuffer<float> y(std::size_t(s.batch * s.filters * (s.out_height() / step) * (s.out_width() / step)));
  kernels::conv2d_arrange(s, w.data(), weight.data(), nullptr);
  kernels::conv2d_forward_arranged<T>(s, {.x = x.data(), .y = y.data()}, weight.data(), bias.data(), activation, kSlope,
                                      pool, {workspace.data(), floats}, nullptr);
  CHECK(weight.guards_intact());
  CHECK(workspace.guards_intact());
  CHECK(y.guards_intact());
  return y.download();
}

std::vector<float> pooled(const std::vector<float>& y, index_t height, index_t width) {
  std::vector<float> largest;
  for (std::size_t plane = 0; plane < y.size(); plane += std::size_t(height * width)) {
    for (index_t row = 0; row + 1 < height; row += 2) {
      for (index_t column = 0; column + 1 < width; column += 2) {
        const float* at = &y[plane + std::size_t(row * width + column)];
        largest.push_back(std::max({at[0], at[1], at[width], at[width + 1]}));
      }
    }
  }
  return largest;
}

template <class T>
void check(const Conv2dShape& s, Activation activation = Activation::relu) {
  if (!kernels::has_tensor_cores_for(kernels::kPrecisionOf<T>)) return;
  CAPTURE(text(s));
  CAPTURE(sizeof(T));
  const Operands of(s);
  const std::vector<float> y = forward<T>(s, of, activation);
  CHECK(arranged<T>(s, of, activation, ConvPool::none) == y);
  if (!is_straight(activation) || std::min(s.out_height(), s.out_width()) < 2) return;
  CHECK(arranged<T>(s, of, activation, ConvPool::halves) == pooled(y, s.out_height(), s.out_width()));
}

template <class T>
void check_all() {
  check<T>({});
  for (const index_t channels : {3, 8, 20}) check<T>({2, channels, 7, 9, 12, 3, 3, 1, 1});
  check<T>({3, 9, 11, 6, 70, 2, 3, 2, 1}, Activation::leaky_relu);
  check<T>({1, 4, 12, 13, 129, 3, 3, 1, 2, 2}, Activation::none);
  check<T>({2, 16, 6, 5, 24, 3, 3, 1, 1, 1, 2});
  check<T>({2, 6, 6, 5, 9, 3, 3, 1, 1, 1, 3}, Activation::tanh);
}

TEST_CASE("conv2d_arranged: the bits of the tensor cores' convolution, and of the pool behind it") {
  check_all<half>();
  check_all<kernels::bfloat16>();
  check_all<float>();
}

// The second convolution on the first one's result, by way of fp32 and as an operand.
template <class T>
void check_linked(ConvPool pool) {
  if (!kernels::has_tensor_cores_for(kernels::kPrecisionOf<T>)) return;
  const index_t step = pool == ConvPool::halves ? 2 : 1;
  const Conv2dShape first{2, 3, 9, 7, 16, 3, 3, 1, 1};
  const Conv2dShape second{2, 16, 9 / step, 7 / step, 24, 3, 2, 1, 1, 1, 2};
  const Operands of(first), after(second);
  const GuardedBuffer<float> x(of.x), bias(of.bias);
  const auto weight = [](const Conv2dShape& s, const std::vector<float>& w) {
    const GuardedBuffer<T> narrow(rounded<T>(w));
    GuardedBuffer<T> result{std::size_t(kernels::conv2d_arranged_size(s))};
    kernels::conv2d_arrange(s, narrow.data(), result.data(), nullptr);
    return GuardedBuffer<T>(result.download());
  };
  const GuardedBuffer<T> w = weight(first, of.w), next_w = weight(second, after.w);
  GuardedBuffer<T> between(std::size_t(second.input_size()));
  GuardedBuffer<float> y(std::size_t(second.output_size()));
  GuardedBuffer<float> workspace(std::size_t(kernels::conv2d_arranged_workspace<T>(first)));
  kernels::conv2d_forward_arranged<T>(first, {.x = x.data(), .y_operand = between.data()}, w.data(), bias.data(),
                                      Activation::leaky_relu, kSlope, pool,
                                      {workspace.data(), index_t(workspace.size())}, nullptr);
  kernels::conv2d_forward_arranged<T>(second, {.x_operand = between.data(), .y = y.data()}, next_w.data(), nullptr,
                                      Activation::none, kSlope, ConvPool::none, {}, nullptr);
  CHECK(between.guards_intact());
  Operands apart = after;
  apart.x = arranged<T>(first, of, Activation::leaky_relu, pool);
  apart.bias.assign(apart.bias.size(), 0.0f);
  CHECK(y.download() == arranged<T>(second, apart, Activation::none, ConvPool::none));
}

TEST_CASE("conv2d_arranged: images that stay an operand between two convolutions give the same bits") {
  for (const ConvPool pool : {ConvPool::none, ConvPool::halves}) {
    check_linked<half>(pool);
    check_linked<kernels::bfloat16>(pool);
    check_linked<float>(pool);
  }
}

TEST_CASE("conv2d_arranged: what it does not take is refused") {
  const Conv2dShape s{.height = 3, .width = 3, .kernel_height = 3, .kernel_width = 3};
  const GuardedBuffer<float> x(std::vector<float>(9));
  const GuardedBuffer<half> w(rounded<half>(std::vector<float>(72)));
  GuardedBuffer<float> y(1), memory(std::size_t(kernels::conv2d_arranged_workspace<half>(s)));
  const auto forward = [&](ConvPool pool, kernels::Workspace workspace) {
    kernels::conv2d_forward_arranged<half>(s, {.x = x.data(), .y = y.data()}, w.data(), nullptr, Activation::none, 0.0f,
                                           pool, workspace, nullptr);
  };
  CHECK_THROWS_AS(forward(ConvPool::none, {}), InvalidArgument);
  CHECK_THROWS_AS(forward(ConvPool::halves, {memory.data(), index_t(memory.size())}), InvalidArgument);
  CHECK_THROWS_AS(kernels::conv2d_forward_arranged<half>(s, {.x_operand = w.data(), .y = y.data()}, w.data(), nullptr,
                                                         Activation::none, 0.0f, ConvPool::none, {}, nullptr),
                  InvalidArgument);
  CHECK(!kernels::takes_arranged<half>({.height = 17, .width = 2, .kernel_height = 17, .kernel_width = 2}));
}

}  // namespace
}  // namespace espalier::test
