#include "kernels/activation.h"

#include <doctest/doctest.h>

#include <limits>

#include "kernels/activation_math.h"
#include "kernels/grid.h"
#include "kernels/require.h"
#include "tests/support/close.h"
#include "tests/support/guarded_buffer.h"
#include "tests/support/reference/activation.h"
#include "tests/support/sizes.h"

using namespace espalier;
using namespace espalier::kernels;
using namespace espalier::test;

namespace {

constexpr Activation kActivations[] = {Activation::none, Activation::relu,    Activation::leaky_relu,
                                       Activation::gelu, Activation::sigmoid, Activation::tanh};
constexpr float kSlope = 0.125f;
// exp, erf and tanh are good to 2 units in the last place; their sums and products add as many again.
constexpr double kTolerance = 8 * 0x1p-24;

std::vector<float> activated(Activation activation, const std::vector<float>& host) {
  const GuardedBuffer<float> x(host);
  GuardedBuffer<float> y(host.size());
  activation_forward(index_t(host.size()), activation, kSlope, x.data(), y.data(), nullptr);
  CHECK(y.guards_intact());
  return y.download();
}

std::vector<float> gradient(Activation activation, const std::vector<float>& host_kept,
                            const std::vector<float>& host_dy) {
  const GuardedBuffer<float> kept(host_kept), dy(host_dy);
  GuardedBuffer<float> dx(host_dy.size());
  activation_backward(index_t(host_dy.size()), activation, kSlope, kept.data(), dy.data(), dx.data(), nullptr);
  CHECK(dx.guards_intact());
  return dx.download();
}

__global__ void epilogue_kernel(index_t count, Activation activation, float slope, const float* x, float* y) {
  for_each_element(count, [=](index_t i) { y[i] = apply_activation(activation, x[i], slope); });
}

}  // namespace

TEST_CASE("activation: forward and backward equal the definitions in double for every size") {
  for (index_t count : element_counts()) {
    const std::vector<float> x = random_floats(std::size_t(count), 1, -6, 6);
    const std::vector<float> dy = random_floats(std::size_t(count), 2);
    for (Activation activation : kActivations) {
      INFO("activation ", int(activation), ", ", count, " elements");
      std::vector<double> expected_y(x.size()), expected_dx(x.size());
      for (std::size_t i = 0; i < x.size(); ++i) {
        expected_y[i] = activation_reference(activation, x[i], kSlope);
        expected_dx[i] = dy[i] * activation_derivative_reference(activation, x[i], kSlope);
      }
      const std::vector<float> y = activated(activation, x);
      CHECK(difference(y, expected_y, kTolerance, 6 * kTolerance) == "");  // gelu: |x| times the error of 1 + erf
      const std::vector<float> dx = gradient(activation, gradient_needs_input(activation) ? x : y, dy);
      CHECK(difference(dx, expected_dx, kTolerance, 6 * kTolerance) == "");
    }
  }
}

TEST_CASE("activation: fused into an epilogue it computes the same bits") {
  const std::vector<float> host = random_floats(1021, 3, -6, 6);
  const GuardedBuffer<float> x(host);
  for (Activation activation : kActivations) {
    INFO("activation ", int(activation));
    GuardedBuffer<float> y(host.size());
    simt::launch(epilogue_kernel, elements_grid(index_t(host.size()), nullptr), index_t(host.size()), activation,
                 kSlope, x.data(), y.data());
    CHECK(y.download() == activated(activation, host));
  }
}

TEST_CASE("activation: in place gives the same bits, forward and backward") {
  const std::vector<float> host = random_floats(4099, 4, -3, 3), host_dy = random_floats(4099, 5);
  for (Activation activation : kActivations) {
    INFO("activation ", int(activation));
    GuardedBuffer<float> x(host), dy(host_dy);
    activation_forward(4099, activation, kSlope, x.data(), x.data(), nullptr);
    CHECK(x.download() == activated(activation, host));
    const std::vector<float> expected = gradient(activation, x.download(), host_dy);
    activation_backward(4099, activation, kSlope, x.data(), dy.data(), dy.data(), nullptr);
    CHECK(dy.download() == expected);
  }
}

TEST_CASE("activation: NaN passes through, saturation is exact, infinities give their limits") {
  constexpr float inf = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
  for (Activation activation : kActivations) {
    INFO("activation ", int(activation));
    const std::vector<float> y = activated(activation, std::vector<float>(40, nan));
    for (float value : y) CHECK(std::isnan(value));
    for (float value : gradient(activation, y, std::vector<float>(40, nan))) CHECK(std::isnan(value));
  }
  CHECK(activated(Activation::relu, {-inf, -1, -0.0f, 0, 1, inf}) == std::vector<float>{0, 0, 0, 0, 1, inf});
  CHECK(activated(Activation::leaky_relu, {-inf, -8, 0, 8, inf}) == std::vector<float>{-inf, -1, 0, 8, inf});
  CHECK(activated(Activation::sigmoid, {-inf, -200, 0, 200, inf}) == std::vector<float>{0, 0, 0.5f, 1, 1});
  CHECK(activated(Activation::tanh, {-inf, -200, 0, 200, inf}) == std::vector<float>{-1, -1, 0, 1, 1});
  CHECK(activated(Activation::gelu, {-200, 0, 200, inf}) == std::vector<float>{0, 0, 200, inf});
  CHECK(gradient(Activation::relu, {0, 1}, {7, 7}) == std::vector<float>{0, 7});
}

TEST_CASE("activation: no elements launch nothing, a negative slope is refused") {
  activation_forward(0, Activation::relu, 0, nullptr, nullptr, nullptr);
  activation_backward(0, Activation::relu, 0, nullptr, nullptr, nullptr, nullptr);
  CHECK_THROWS_AS(activation_forward(1, Activation::leaky_relu, -0.1f, nullptr, nullptr, nullptr), InvalidArgument);
}
