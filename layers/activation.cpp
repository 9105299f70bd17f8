#include "layers/activation.h"

#include "core/device/stream.h"
#include "kernels/require.h"

namespace espalier {

std::string_view to_string(kernels::Activation activation) {
  switch (activation) {
    case kernels::Activation::none:
      return "identity";
    case kernels::Activation::relu:
      return "relu";
    case kernels::Activation::leaky_relu:
      return "leaky_relu";
    case kernels::Activation::gelu:
      return "gelu";
    case kernels::Activation::sigmoid:
      return "sigmoid";
    case kernels::Activation::tanh:
      return "tanh";
  }
  return "unknown activation";
}

Tensor ActivationFunction::forward(const Tensors& inputs, Context& context) const {
  const Tensor& x = inputs[0];
  Tensor y = Tensor::like(x);
  kernels::activation_forward(x.size(), activation, slope, x.data<float>(), y.data<float>(), current_stream());
  if (context.recording) context.saved = {kernels::gradient_needs_input(activation) ? x : y};
  return y;
}

Tensors ActivationFunction::backward(const Tensor& dy, const Context& context) const {
  Tensor dx = Tensor::like(dy);
  kernels::activation_backward(dy.size(), activation, slope, context.saved[0].data<float>(), dy.data<float>(),
                               dx.data<float>(), current_stream());
  return {dx};
}

ActivationLayer::ActivationLayer(kernels::Activation activation, float slope) : activation_(activation), slope_(slope) {
  require(slope >= 0, "leaky_relu: slope is ", slope, "; give one >= 0, for the gradient takes the sign of x from y");
}

Variable ActivationLayer::operator()(const Variable& x) {
  return apply(std::make_shared<ActivationFunction>(activation_, slope_), {x});
}

Description ActivationLayer::describe() const {
  Description description{std::string(kind()), {}, {}};
  if (activation_ == kernels::Activation::leaky_relu) description.attributes["slope"] = double(slope_);
  return description;
}

}  // namespace espalier
