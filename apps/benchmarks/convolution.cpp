// Convolutions: the layers of the model zoo at a batch of 128 and others, each direction. Beside them im2col + the
// vendor's product and, on a GPU, our other methods; beside a fused block the two launches that it replaces.
#include "apps/benchmarks/case.h"
#include "apps/benchmarks/operands.h"
#include "core/device/stream.h"
#include "kernels/conv2d.h"
#include "kernels/conv2d_pool.h"
#include "kernels/conv2d_winograd.h"
#include "kernels/pool2d.h"
#include "kernels/vendor/blas.h"
#include "kernels/vendor/conv2d.h"

namespace espalier::benchmarks {
namespace {

using kernels::Activation;
using kernels::Conv2dMethod;
using kernels::Conv2dShape;
using kernels::vendor::Conv2dProduct;
using Direction = kernels::vendor::Conv2dDirection;

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

constexpr Layer kBlocks[] = {
    // a pool follows
    {"lenet-5 conv2d_1, batch 128", square(128, 1, 28, 20, 5)},
    {"lenet-5 conv2d_2, batch 128", square(128, 20, 12, 50, 5)},
    {"seed-cnn conv2d_1, batch 128", square(128, 1, 28, 32, 3)},
    {"seed-cnn conv2d_2, batch 128", square(128, 32, 13, 64, 3)},
    {"seed-cnn conv2d_2, batch 1", square(1, 32, 13, 64, 3)},
};
constexpr Layer kOthers[] = {
    {"resnet-small 16 -> 16, 28 x 28, batch 128", padded(square(128, 16, 28, 16, 3), 1)},
    {"resnet-small 32 -> 64, stride 2, batch 128", padded(square(128, 32, 14, 64, 3), 1, 2)},
    {"64 -> 64, 3x3, 28 x 28, batch 32", padded(square(32, 64, 28, 64, 3), 1)},
    {"256 -> 256, 1x1, 14 x 14, batch 16", square(16, 256, 14, 256, 1)},
    {"512 -> 512, 3x3, 7 x 7, batch 4", padded(square(4, 512, 7, 512, 3), 1)},
    {"64 depthwise, 3x3, 28 x 28, batch 32", padded(square(32, 64, 28, 64, 3), 1, 1, 64)},
    {"3 -> 64, 7x7, stride 2, 224 x 224, batch 1", padded(square(1, 3, 224, 64, 7), 3, 2)},
    {"64 -> 128, 3x3, stride 2, 56 x 56, batch 32", padded(square(32, 64, 56, 128, 3), 1, 2)},
    {"128 -> 256, 3x3, stride 2, 28 x 28, batch 32", padded(square(32, 128, 28, 256, 3), 1, 2)},
    {"64 -> 128, 1x1, stride 2, 56 x 56, batch 32", padded(square(32, 64, 56, 128, 1), 0, 2)},
};

struct Operands {
  Tensor x, w, bias, y;
  explicit Operands(const Conv2dShape& s)
      : x(random({s.batch, s.channels, s.height, s.width}, 1)),
        w(random({s.filters, s.channels_per_group(), s.kernel_height, s.kernel_width}, 2)),
        bias(random({s.filters}, 3)),
        y(random({s.batch, s.filters, s.out_height(), s.out_width()}, 4)) {}
};

Variant ours(const Conv2dShape& s, Direction direction, const Operands& t, const char* by, Conv2dMethod method) {
  if (direction == Direction::forward) {
    const Scratch scratch(kernels::conv2d_forward_workspace(s, method));
    return {by, [=] {
              kernels::conv2d_forward(s, t.x.data<float>(), t.w.data<float>(), t.bias.data<float>(), t.y.data<float>(),
                                      Activation::relu, current_stream(), method, 0.0f, scratch.get());
            }};
  }
  if (direction == Direction::input) {
    const Scratch scratch(kernels::conv2d_backward_input_workspace(s, method));
    return {by, [=] {
              kernels::conv2d_backward_input(s, t.y.data<float>(), t.w.data<float>(), t.x.data<float>(),
                                             current_stream(), method, scratch.get());
            }};
  }
  const Scratch scratch(kernels::conv2d_backward_weight_workspace(s, method));
  return {by, [=] {
            kernels::conv2d_backward_weight(s, t.x.data<float>(), t.y.data<float>(), t.w.data<float>(),
                                            t.bias.data<float>(), scratch.get(), current_stream(), method);
          }};
}

Variant vendors(const Conv2dShape& s, Direction direction, const Operands& t) {
  constexpr auto blas = Conv2dProduct::blas;
  const Scratch scratch(kernels::vendor::conv2d_workspace_floats(s, direction, blas));
  return {"im2col + " + std::string(kernels::vendor::blas_name()), [=] {
            using namespace kernels::vendor;
            if (direction == Direction::forward) {
              conv2d_forward(s, t.x.data<float>(), t.w.data<float>(), t.bias.data<float>(), t.y.data<float>(),
                             Activation::relu, 0.0f, scratch.get(), current_stream(), blas);
            } else if (direction == Direction::input) {
              conv2d_backward_input(s, t.y.data<float>(), t.w.data<float>(), t.x.data<float>(), scratch.get(),
                                    current_stream(), blas);
            } else {
              conv2d_backward_weight(s, t.x.data<float>(), t.y.data<float>(), t.w.data<float>(), t.bias.data<float>(),
                                     scratch.get(), current_stream(), blas);
            }
          }};
}

Case plain_case(const Layer& layer, Direction direction, const char* kernel) {
  const Conv2dShape s = layer.shape;
  return {
      .kernel = kernel, .shape = layer.name, .flops = double(s.flops()), .bytes = double(s.bytes()), .prepare = [=] {
        const Operands t(s);
        Variants variants{ours(s, direction, t, "ours", Conv2dMethod::fastest), vendors(s, direction, t)};
        if (!simt::kEmulated) {
          if (s.channels >= 64 && kernels::suits_winograd(s) && direction != Direction::weight) {
            variants.push_back(ours(s, direction, t, "winograd", Conv2dMethod::winograd));
            variants.push_back(ours(s, direction, t, "stencil", Conv2dMethod::stencil));
          }
          variants.push_back(ours(s, direction, t, "tiles", Conv2dMethod::tiles));
          variants.push_back(ours(s, direction, t, "direct", Conv2dMethod::direct));
        }
        return variants;
      }};
}

Case bias_case(const Layer& layer) {
  const Conv2dShape s = layer.shape;
  return {.kernel = "conv2d_backward_bias",
          .shape = layer.name,
          .flops = double(s.output_size()),
          .bytes = 4.0 * double(s.output_size()),
          .prepare = [=] {
            const Operands t(s);
            const Scratch scratch = Scratch::of_bytes(kernels::conv2d_backward_bias_workspace_bytes(s));
            return Variants{{"ours", [=] {
                               kernels::conv2d_backward_bias(s, t.y.data<float>(), t.bias.data<float>(), scratch.raw(),
                                                             current_stream());
                             }}};
          }};
}

// A block as one launch, and as the convolution and the pool that it replaces.
struct BlockOperands : Operands {
  Tensor pooled, route, map;
  explicit BlockOperands(const Conv2dShape& s)
      : Operands(s),
        pooled(random({kernels::pool_of(s).output_size()}, 5)),
        route(random_bytes({std::int64_t(kernels::conv2d_pool_route_bytes(s))})),
        map(random_bytes({kernels::pool_of(s).output_size()}, 4)) {}
};

double block_bytes(const Conv2dShape& s) {
  const double pooled = double(kernels::pool_of(s).output_size());
  return 4.0 * double(s.input_size() + s.weight_size()) + 4.0 * pooled + double(kernels::conv2d_pool_route_bytes(s));
}

Variants block_forward(const Conv2dShape& s) {
  const BlockOperands t(s);
  const auto pool = kernels::pool_of(s);
  return {{"ours",
           [=] {
             kernels::conv2d_pool_forward(s, t.x.data<float>(), t.w.data<float>(), t.bias.data<float>(),
                                          t.pooled.data<float>(), t.route.data<std::uint8_t>(), Activation::relu, 0.0f,
                                          current_stream());
           }},
          {"ours, two launches", [=] {
             kernels::conv2d_forward(s, t.x.data<float>(), t.w.data<float>(), t.bias.data<float>(), t.y.data<float>(),
                                     Activation::relu, current_stream());
             kernels::max_pool2d_forward(pool, t.y.data<float>(), t.pooled.data<float>(), t.map.data<std::uint8_t>(),
                                         current_stream());
           }}};
}

Variants block_backward_weight(const Conv2dShape& s) {
  const BlockOperands t(s);
  const auto pool = kernels::pool_of(s);
  const Scratch fused(kernels::conv2d_pool_backward_weight_workspace(s));
  const Scratch plain(kernels::conv2d_backward_weight_workspace(s));
  const Tensor dy = random({pool.output_size()}, 6);
  return {{"ours",
           [=] {
             kernels::conv2d_pool_backward_weight(s, t.x.data<float>(), t.pooled.data<float>(), dy.data<float>(),
                                                  t.route.data<std::uint8_t>(), t.w.data<float>(), t.bias.data<float>(),
                                                  Activation::relu, 0.0f, fused.get(), current_stream());
           }},
          {"ours, two launches", [=] {
             kernels::max_pool2d_backward(pool, t.map.data<std::uint8_t>(), dy.data<float>(), t.y.data<float>(),
                                          current_stream());
             kernels::conv2d_backward_weight(s, t.x.data<float>(), t.y.data<float>(), t.w.data<float>(),
                                             t.bias.data<float>(), plain.get(), current_stream());
           }}};
}

Variants block_backward_input(const Conv2dShape& s) {
  const BlockOperands t(s);
  const auto pool = kernels::pool_of(s);
  const Tensor dy = random({pool.output_size()}, 6);
  return {{"ours",
           [=] {
             kernels::conv2d_pool_backward_input(s, t.pooled.data<float>(), dy.data<float>(),
                                                 t.route.data<std::uint8_t>(), t.w.data<float>(), t.x.data<float>(),
                                                 Activation::relu, 0.0f, current_stream());
           }},
          {"ours, two launches", [=] {
             kernels::max_pool2d_backward(pool, t.map.data<std::uint8_t>(), dy.data<float>(), t.y.data<float>(),
                                          current_stream());
             kernels::conv2d_backward_input(s, t.y.data<float>(), t.w.data<float>(), t.x.data<float>(),
                                            current_stream());
           }}};
}

Case block_case(const Layer& layer, const char* kernel, Variants (*prepare)(const Conv2dShape&), double extra_bytes) {
  const Conv2dShape s = layer.shape;
  return {.kernel = kernel,
          .shape = layer.name,
          .flops = double(s.flops()),
          .bytes = block_bytes(s) + extra_bytes,
          .prepare = [=] { return prepare(s); }};
}

}  // namespace

Cases convolution_cases() {
  Cases cases;
  const auto add = [&](const Layer& layer) {
    cases.push_back(plain_case(layer, Direction::forward, "conv2d_forward"));
    cases.push_back(plain_case(layer, Direction::input, "conv2d_backward_input"));
    cases.push_back(plain_case(layer, Direction::weight, "conv2d_backward_weight"));
  };
  for (const Layer& layer : kBlocks) add(layer);
  for (const Layer& layer : kOthers) add(layer);
  cases.push_back(bias_case(kBlocks[0]));
  for (const Layer& layer : kBlocks) {
    const double pooled_bytes = 4.0 * double(kernels::pool_of(layer.shape).output_size());  // dy, beside y
    cases.push_back(block_case(layer, "conv2d_pool_forward", block_forward, 0));
    cases.push_back(block_case(layer, "conv2d_pool_backward_weight", block_backward_weight, pooled_bytes));
    cases.push_back(block_case(layer, "conv2d_pool_backward_input", block_backward_input, pooled_bytes));
  }
  return cases;
}

}  // namespace espalier::benchmarks
