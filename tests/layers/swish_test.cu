// A new layer as a user writes it, whole: kernels, launchers, Function, Module, gradient check. It must keep compiling.
#include <doctest/doctest.h>

#include <cmath>

#include "core/device/stream.h"
#include "kernels/grid.h"
#include "kernels/simt/simt.h"
#include "layers/gradient_check.h"
#include "layers/module.h"
#include "tests/support/close.h"
#include "tests/support/sizes.h"

namespace espalier {
namespace {

namespace kernels {

using espalier::kernels::one_thread_per;

// Swish, y = x * sigmoid(x). Memory bound: forward moves 8 bytes and does 4 flops per element, backward moves 12 bytes.
__global__ void swish_forward_kernel(std::int64_t count, const float* __restrict__ x, float* __restrict__ y) {
  const std::int64_t i = std::int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < count) y[i] = x[i] / (1.0f + expf(-x[i]));
}
void swish_forward(std::int64_t count, const float* x, float* y, cudaStream_t stream) {
  simt::launch(swish_forward_kernel, one_thread_per(count, stream), count, x, y);
}
__global__ void swish_backward_kernel(std::int64_t count, const float* __restrict__ x, const float* __restrict__ dy,
                                      float* __restrict__ dx) {
  const std::int64_t i = std::int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < count) {
    const float sigmoid = 1.0f / (1.0f + expf(-x[i]));
    dx[i] = dy[i] * sigmoid * (1.0f + x[i] * (1.0f - sigmoid));
  }
}
void swish_backward(std::int64_t count, const float* x, const float* dy, float* dx, cudaStream_t stream) {
  simt::launch(swish_backward_kernel, one_thread_per(count, stream), count, x, dy, dx);
}

}  // namespace kernels

struct SwishFunction final : Function {
  std::string_view name() const override { return "swish"; }
  Tensor forward(const Tensors& in, Context& context) const override {
    Tensor y = Tensor::like(in[0]);
    kernels::swish_forward(y.size(), in[0].data<float>(), y.data<float>(), current_stream());
    if (context.recording) context.saved = {in[0]};
    return y;
  }
  Tensors backward(const Tensor& dy, const Context& context) const override {
    Tensor dx = Tensor::like(dy);
    kernels::swish_backward(dx.size(), context.saved[0].data<float>(), dy.data<float>(), dx.data<float>(),
                            current_stream());
    return {dx};
  }
};
struct Swish : Module {
  Variable operator()(const Variable& x) override { return apply(std::make_shared<SwishFunction>(), {x}); }
};

TEST_CASE("swish: gradient equals central differences") { CHECK(gradient_check(Swish(), {2, 3, 5, 7})); }

TEST_CASE("swish: equals its definition in double for every size") {
  for (const std::int64_t count : test::element_counts()) {
    const std::vector<float> x = test::random_floats(std::size_t(count), 1, -6, 6);
    std::vector<double> expected;
    for (float value : x) expected.push_back(value / (1 + std::exp(-double(value))));
    const Tensor y = Swish()(Variable(Tensor::from({count}, std::span<const float>(x)))).value();
    CHECK(test::difference(y.to_host(), expected, 1e-6, 1e-7) == "");
  }
}

TEST_CASE("swish: it trains inside a model without any other file knowing of it") {
  Variable x(Tensor::full({4}, 0.5f), Gradient::required);
  Swish layer;
  layer(layer(x)).backward(Tensor::full({4}, 1.0f));
  const double y = 0.5 / (1 + std::exp(-0.5));
  const auto slope = [](double v) { return (1 + v / (1 + std::exp(v))) / (1 + std::exp(-v)); };
  CHECK(test::difference(x.gradient().to_host(), std::vector<double>(4, slope(0.5) * slope(y)), 1e-6, 0) == "");
}

}  // namespace
}  // namespace espalier
