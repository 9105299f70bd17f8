// Pointwise nonlinearities. They keep y for backward, or x where y does not determine the slope (gelu): 4 bytes per
// element either way, shared with the neighbour that keeps the same tensor.
#pragma once
#include <string_view>

#include "kernels/activation.h"
#include "layers/module.h"

namespace espalier {

// "relu", "leaky_relu", ...: one word in messages, checkpoints and reports.
std::string_view to_string(kernels::Activation activation);

struct ActivationFunction final : Function {
  kernels::Activation activation;
  float slope;  // of leaky_relu below zero

  explicit ActivationFunction(kernels::Activation kind, float leaky_slope = kernels::kDefaultLeakySlope)
      : activation(kind), slope(leaky_slope) {}
  std::string_view name() const override { return to_string(activation); }
  Tensor forward(const Tensors& inputs, Context& context) const override;
  Tensors backward(const Tensor& output_gradient, const Context& context) const override;
  ChannelFlow channel_flow() const override { return ChannelFlow::uniform; }
};

// What the named layers below share.
class ActivationLayer : public Module {
 public:
  Variable operator()(const Variable& x) override;
  kernels::Activation activation() const { return activation_; }
  float slope() const { return slope_; }
  std::string_view kind() const override { return to_string(activation_); }
  Description describe() const override;

 protected:
  explicit ActivationLayer(kernels::Activation activation, float slope = kernels::kDefaultLeakySlope);

 private:
  kernels::Activation activation_;
  float slope_;
};

struct Relu : ActivationLayer {
  Relu() : ActivationLayer(kernels::Activation::relu) {}
};

// y = x above zero, slope * x below; slope >= 0.
struct LeakyRelu : ActivationLayer {
  explicit LeakyRelu(float slope = kernels::kDefaultLeakySlope)
      : ActivationLayer(kernels::Activation::leaky_relu, slope) {}
};

// x * Phi(x), the exact form with erf (Hendrycks and Gimpel 2016).
struct Gelu : ActivationLayer {
  Gelu() : ActivationLayer(kernels::Activation::gelu) {}
};

struct Sigmoid : ActivationLayer {
  Sigmoid() : ActivationLayer(kernels::Activation::sigmoid) {}
};

struct Tanh : ActivationLayer {
  Tanh() : ActivationLayer(kernels::Activation::tanh) {}
};

}  // namespace espalier
