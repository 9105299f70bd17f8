// Convolutions on tensor cores, nhwc, operands in tf32, fp16 and bf16, each beside our own fp32 convolution (nchw).
#include "apps/benchmarks/case.h"
#include "apps/benchmarks/operands.h"
#include "core/device/stream.h"
#include "kernels/conv2d.h"
#include "kernels/conv2d_tensor_core.h"
#include "kernels/precision.h"

namespace espalier::benchmarks {
namespace {

using kernels::Activation;
using kernels::Conv2dDirection;
using kernels::Conv2dLayout;
using kernels::Conv2dShape;
using kernels::Precision;

struct Layer {
  const char* name;
  Conv2dShape shape;
};
constexpr Layer kLayers[] = {
    {"lenet-5 conv2d_2, batch 128", {128, 20, 12, 12, 50, 5, 5}},
    {"seed-cnn conv2d_2, batch 128", {128, 32, 13, 13, 64, 3, 3}},
    {"64 -> 64, 3x3, 28 x 28, batch 32", {32, 64, 28, 28, 64, 3, 3, 1, 1}},
};

struct Operands {
  Tensor x, w, bias, y;  // fp32
  explicit Operands(const Conv2dShape& s)
      : x(random({s.input_size()}, 1)),
        w(random({s.weight_size()}, 2)),
        bias(random({s.filters}, 3)),
        y(random({s.output_size()}, 4)) {}
};

// `fp32` as T; floats are rounded to tf32.
template <class T>
Tensor rounded(const Tensor& fp32) {
  const Tensor result = Tensor::empty({fp32.size() * std::int64_t(sizeof(T))}, DType::u8);
  if constexpr (std::is_same_v<T, float>) {
    kernels::round_to_tf32(fp32.size(), fp32.data<float>(), static_cast<T*>(result.raw()), current_stream());
  } else {
    kernels::convert(fp32.size(), fp32.data<float>(), static_cast<T*>(result.raw()), current_stream());
  }
  return result;
}

template <class T>
Variant ours(const Conv2dShape& s, Conv2dDirection direction, Precision precision, const Operands& t) {
  constexpr auto nhwc = Conv2dLayout::nhwc;
  const Tensor x = rounded<T>(t.x), w = rounded<T>(t.w), dy = rounded<T>(t.y);
  const Scratch scratch(kernels::conv2d_tensor_core_workspace(s, nhwc, direction, precision));
  const auto as = [](const Tensor& tensor) { return static_cast<const T*>(tensor.raw()); };
  return {"ours", [=] {
            if (direction == Conv2dDirection::forward) {
              kernels::conv2d_forward_tensor_core<T>(s, nhwc, as(x), as(w), t.bias.data<float>(), t.y.data<float>(),
                                                     Activation::relu, scratch.get(), current_stream());
            } else if (direction == Conv2dDirection::backward_input) {
              kernels::conv2d_backward_input_tensor_core<T>(s, nhwc, as(dy), as(w), t.x.data<float>(), scratch.get(),
                                                            current_stream());
            } else {
              kernels::conv2d_backward_weight_tensor_core<T>(s, nhwc, as(x), as(dy), t.w.data<float>(),
                                                             t.bias.data<float>(), scratch.get(), current_stream());
            }
          }};
}

Variant in_fp32(const Conv2dShape& s, Conv2dDirection direction, const Operands& t) {
  const Scratch scratch(kernels::conv2d_backward_weight_workspace(s));
  return {"ours, fp32", [=] {
            if (direction == Conv2dDirection::forward) {
              kernels::conv2d_forward(s, t.x.data<float>(), t.w.data<float>(), t.bias.data<float>(), t.y.data<float>(),
                                      Activation::relu, current_stream());
            } else if (direction == Conv2dDirection::backward_input) {
              kernels::conv2d_backward_input(s, t.y.data<float>(), t.w.data<float>(), t.x.data<float>(),
                                             current_stream());
            } else {
              kernels::conv2d_backward_weight(s, t.x.data<float>(), t.y.data<float>(), t.w.data<float>(),
                                              t.bias.data<float>(), scratch.get(), current_stream());
            }
          }};
}

template <class T>
Case make_case(const Layer& layer, Conv2dDirection direction, Precision precision, const std::string& kernel) {
  const Conv2dShape s = layer.shape;
  // Weights and the two maps: T where they are read, fp32 where they are written.
  const bool to_input = direction == Conv2dDirection::backward_input;
  const bool to_weight = direction == Conv2dDirection::backward_weight;
  const double in = to_input ? 4 : sizeof(T), weight = to_weight ? 4 : sizeof(T);
  const double out = to_input || to_weight ? sizeof(T) : 4;
  return {.kernel = kernel,
          .shape = layer.name,
          .flops = double(s.flops()),
          .bytes = in * double(s.input_size()) + weight * double(s.weight_size()) + out * double(s.output_size()),
          .prepare =
              [=] {
                const Operands t(s);
                if (!simt::kEmulated && !kernels::has_tensor_cores_for(precision)) {
                  return Variants{in_fp32(s, direction, t)};
                }
                return Variants{ours<T>(s, direction, precision, t), in_fp32(s, direction, t)};
              },
          .tensor = true};
}

}  // namespace

Cases tensor_core_convolution_cases() {
  Cases cases;
  const auto add = [&](const char* kernel, Conv2dDirection direction) {
    const std::string name(kernel);
    for (const Layer& layer : kLayers) {
      cases.push_back(make_case<float>(layer, direction, Precision::tf32, name + " tf32"));
      cases.push_back(make_case<kernels::half>(layer, direction, Precision::fp16, name + " fp16"));
      cases.push_back(make_case<kernels::bfloat16>(layer, direction, Precision::bf16, name + " bf16"));
    }
  };
  add("conv2d_forward", Conv2dDirection::forward);
  add("conv2d_backward_input", Conv2dDirection::backward_input);
  add("conv2d_backward_weight", Conv2dDirection::backward_weight);
  return cases;
}

}  // namespace espalier::benchmarks
