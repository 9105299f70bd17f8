// Our convolution beside im2col + the vendor's BLAS, each direction, at the layers of the model zoo for a batch of 128
// and at a few others. Medians; the device is named, since a figure of the CPU emulation says nothing about a GPU.
#include <fmt/format.h>

#include "core/device/device_info.h"
#include "core/device/stream.h"
#include "core/device/timer.h"
#include "core/tensor/initialise.h"
#include "core/tensor/tensor.h"
#include "kernels/conv2d.h"
#include "kernels/vendor/blas.h"
#include "kernels/vendor/conv2d.h"

namespace {

using namespace espalier;
using kernels::Activation;
using kernels::Conv2dShape;
using kernels::Workspace;
using kernels::vendor::Conv2dDirection;
using kernels::vendor::Conv2dProduct;

struct Layer {
  const char* name;
  Conv2dShape shape;
};

constexpr Conv2dShape square(std::int64_t batch, std::int64_t channels, std::int64_t side, std::int64_t filters,
                             std::int64_t kernel) {
  return {.batch = batch,
          .channels = channels,
          .height = side,
          .width = side,
          .filters = filters,
          .kernel_height = kernel,
          .kernel_width = kernel};
}

constexpr Conv2dShape padded(Conv2dShape shape, std::int64_t padding, std::int64_t stride = 1,
                             std::int64_t groups = 1) {
  shape.padding = padding, shape.stride = stride, shape.groups = groups;
  return shape;
}

constexpr Layer kLayers[] = {
    {"lenet-5 conv2d_1", square(128, 1, 28, 20, 5)},
    {"lenet-5 conv2d_2", square(128, 20, 12, 50, 5)},
    {"seed-cnn conv2d_1", square(128, 1, 28, 32, 3)},
    {"seed-cnn conv2d_2", square(128, 32, 13, 64, 3)},
    {"seed-cnn conv2d_2, batch 1", square(1, 32, 13, 64, 3)},
    {"64 -> 64, 3x3, padded", padded(square(32, 64, 28, 64, 3), 1)},
    {"64 -> 64, 3x3, stride 2", padded(square(32, 64, 28, 64, 3), 1, 2)},
    {"256 -> 256, 1x1", square(16, 256, 14, 256, 1)},
    {"512 -> 512, 3x3, padded", padded(square(4, 512, 7, 512, 3), 1)},
    {"64 depthwise, 3x3, padded", padded(square(32, 64, 28, 64, 3), 1, 1, 64)},
};

struct Operands {
  Tensor x, w, bias, y;
  explicit Operands(const Conv2dShape& s)
      : x(kaiming_uniform({s.batch, s.channels, s.height, s.width}, 1)),
        w(kaiming_uniform({s.filters, s.channels_per_group(), s.kernel_height, s.kernel_width}, 2)),
        bias(Tensor::zeros({s.filters})),
        y(kaiming_uniform({s.batch, s.filters, s.out_height(), s.out_width()}, 3)) {}
};

struct Scratch {
  Tensor memory;
  std::int64_t floats;
  explicit Scratch(std::int64_t count) : memory(Tensor::empty({count + 1})), floats(count) {}
  Workspace get() const { return {memory.data<float>(), floats}; }
};

Timing time_ours(const Conv2dShape& s, Conv2dDirection direction, const Operands& t) {
  const Scratch scratch(direction == Conv2dDirection::weight ? kernels::conv2d_backward_weight_workspace(s) : 0);
  return benchmark([&] {
    if (direction == Conv2dDirection::forward) {
      kernels::conv2d_forward(s, t.x.data<float>(), t.w.data<float>(), t.bias.data<float>(), t.y.data<float>(),
                              Activation::relu, current_stream());
    } else if (direction == Conv2dDirection::input) {
      kernels::conv2d_backward_input(s, t.y.data<float>(), t.w.data<float>(), t.x.data<float>(), current_stream());
    } else {
      kernels::conv2d_backward_weight(s, t.x.data<float>(), t.y.data<float>(), t.w.data<float>(), t.bias.data<float>(),
                                      scratch.get(), current_stream());
    }
  });
}

Timing time_blas(const Conv2dShape& s, Conv2dDirection direction, const Operands& t) {
  using namespace kernels::vendor;
  constexpr auto blas = Conv2dProduct::blas;
  const Scratch scratch(conv2d_workspace_floats(s, direction, blas));
  return benchmark([&] {
    if (direction == Conv2dDirection::forward) {
      conv2d_forward(s, t.x.data<float>(), t.w.data<float>(), t.bias.data<float>(), t.y.data<float>(), Activation::relu,
                     0.0f, scratch.get(), current_stream(), blas);
    } else if (direction == Conv2dDirection::input) {
      conv2d_backward_input(s, t.y.data<float>(), t.w.data<float>(), t.x.data<float>(), scratch.get(), current_stream(),
                            blas);
    } else {
      conv2d_backward_weight(s, t.x.data<float>(), t.y.data<float>(), t.w.data<float>(), t.bias.data<float>(),
                             scratch.get(), current_stream(), blas);
    }
  });
}

void compare(const Layer& layer, Conv2dDirection direction, const char* direction_name) {
  const Operands tensors(layer.shape);
  const Timing ours = time_ours(layer.shape, direction, tensors), blas = time_blas(layer.shape, direction, tensors);
  const auto gflops = [&](const Timing& timing) { return double(layer.shape.flops()) / timing.median_us * 1e-3; };
  fmt::print("{:27} {:16} {:>9.1f} {:>7.1f} {:>12.1f} {:>7.1f} {:>6.2f}\n", layer.name, direction_name, ours.median_us,
             gflops(ours), blas.median_us, gflops(blas), blas.median_us / ours.median_us);
}

}  // namespace

int main() {
  const DeviceInfo device = device_info();
  fmt::print("{}, {} {}\n", device.name, device.multiprocessors, device.emulated ? "threads" : "multiprocessors");
  fmt::print("{:27} {:16} {:>9} {:>7} {:>12} {:>7} {:>6}\n", "layer", "direction", "ours, us", "GFLOP/s",
             fmt::format("{}, us", kernels::vendor::blas_name()), "GFLOP/s", "ratio");
  for (const Layer& layer : kLayers) {
    compare(layer, Conv2dDirection::forward, "forward");
    compare(layer, Conv2dDirection::input, "input gradient");
    compare(layer, Conv2dDirection::weight, "weight gradient");
  }
}
