// The polynomials of the CPU and CUDA's functions meet the same bounds.
#include "kernels/elementary.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <numbers>

#include "kernels/grid.h"
#include "tests/support/close.h"
#include "tests/support/guarded_buffer.h"

using namespace espalier;
using namespace espalier::kernels;
using namespace espalier::test;

namespace {

struct Results {
  std::vector<float> exponential, logarithm, error_function, tangent, sine, cosine;
};

__global__ void elementary_kernel(index_t count, const float* x, float* y) {
  for_each_element(count, [=](index_t i) {
    const float magnitude = x[i] < 0.0f ? -x[i] : x[i];
    const SineCosine turn = sine_cosine_of_turn(magnitude < 1.0f ? magnitude : 1.0f);
    y[i] = exponential(x[i]);
    y[count + i] = natural_logarithm(magnitude);
    y[2 * count + i] = error_function(x[i]);
    y[3 * count + i] = hyperbolic_tangent(x[i]);
    y[4 * count + i] = turn.sine;
    y[5 * count + i] = turn.cosine;
  });
}

Results evaluate(const std::vector<float>& host) {
  const GuardedBuffer<float> x(host);
  GuardedBuffer<float> y(6 * host.size());
  simt::launch(elementary_kernel, elements_grid(index_t(host.size()), nullptr), index_t(host.size()), x.data(),
               y.data());
  CHECK(y.guards_intact());
  const std::vector<float> all = y.download();
  const auto part = [&](std::size_t k) {
    return std::vector<float>(all.begin() + std::ptrdiff_t(k * host.size()),
                              all.begin() + std::ptrdiff_t((k + 1) * host.size()));
  };
  return {part(0), part(1), part(2), part(3), part(4), part(5)};
}

template <class Function>
std::vector<double> in_double(const std::vector<float>& x, Function function) {
  std::vector<double> y;
  for (float value : x) y.push_back(function(double(value)));
  return y;
}

}  // namespace

TEST_CASE("elementary: within 2 units in the last place of double, over the whole range") {
  constexpr double kTwoUnits = 2 * 0x1p-23;
  std::vector<float> x = random_floats(simt::kEmulated ? 200003 : 5003, 1, -80, 80);
  for (float low : {1e-30f, 1e-6f, 0.1f, 0.6f, 0.9f, 1.0f, 3.0f}) {  // around the seams of the approximations
    for (float value : random_floats(499, 2, low, low * 1.1f)) x.push_back(value), x.push_back(-value);
  }
  const Results results = evaluate(x);
  CHECK(difference(results.exponential, in_double(x, [](double v) { return std::exp(v); }), kTwoUnits, 1e-37) == "");
  CHECK(difference(results.logarithm, in_double(x, [](double v) { return std::log(std::abs(v)); }), kTwoUnits, 1e-9) ==
        "");
  CHECK(difference(results.error_function, in_double(x, [](double v) { return std::erf(v); }), kTwoUnits, 0) == "");
  CHECK(difference(results.tangent, in_double(x, [](double v) { return std::tanh(v); }), kTwoUnits, 0) == "");
  const auto turn = [](double v) { return 2 * std::numbers::pi * std::min(std::abs(v), 1.0); };
  CHECK(difference(results.sine, in_double(x, [&](double v) { return std::sin(turn(v)); }), 0, 1.5e-7) == "");
  CHECK(difference(results.cosine, in_double(x, [&](double v) { return std::cos(turn(v)); }), 0, 1.5e-7) == "");
}

TEST_CASE("elementary: infinities give limits, NaN stays NaN") {
  constexpr float inf = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
  const Results results = evaluate({inf, -inf, nan, 89.5f, -120.0f});
  CHECK(results.exponential[0] == inf);
  CHECK(results.exponential[1] == 0);
  CHECK(std::isnan(results.exponential[2]));
  CHECK(results.exponential[3] == inf);
  CHECK(results.exponential[4] == 0);
  CHECK(results.error_function[0] == 1);
  CHECK(results.error_function[1] == -1);
  CHECK(std::isnan(results.error_function[2]));
  CHECK(results.tangent[0] == 1);
  CHECK(results.tangent[1] == -1);
  CHECK(std::isnan(results.tangent[2]));
}
