// What dense and convolution layers share: a weight, an optional bias, and an epilogue that can take in the
// activation that follows, so that y is written once. Sequential uses that; compile() and pruning read the attributes.
#pragma once
#include <optional>
#include <string>

#include "core/device/math.h"
#include "core/device/precision.h"
#include "kernels/activation.h"
#include "layers/module.h"

namespace espalier {

struct ProductFunction : Function {
  std::string label;                                           // the layer's place in the model: "dense_2"
  kernels::Activation activation = kernels::Activation::none;  // applied to the product
  float slope = kernels::kDefaultLeakySlope;                   // of leaky_relu below zero
  std::optional<Math> math;                                    // whose fp32 kernels; none: current_math()
  // Of the operands, forward and backward; other than fp32 the kernels are ours. That of the thread which makes it.
  Precision precision = current_precision();
  bool weight_rounded = false;  // forward gets a weight that is of that precision already, as a plan keeps it

  std::optional<float> output_slope() const override;
  Tensor weight_operand(const Tensor& weight) const;  // as the product reads it
  bool vendor() const { return math.value_or(current_math()) != Math::handwritten; }

 protected:
  static Tensor sums_over_batch(const Tensor& dy);  // [batch, features] -> [features]
  // dy through the activation: the gradient of the product itself. `y` is what forward returned.
  Tensor product_gradient(const Tensor& dy, const Tensor& y, const Context& context) const;
};

// How a layer was last called in training, with what it took in behind it: enough to measure another in its place.
struct LayerCall {
  Description layers;
  Shape input;  // of one sample
  Gradient input_gradient = Gradient::required;
};

class ProductLayer : public Module {
 public:
  Variable operator()(const Variable& x) override { return with_activation(x, kernels::Activation::none, 0.0f); }
  // activation(product(x)) in one pass; any activation whose gradient follows from its output.
  virtual Variable with_activation(const Variable& x, kernels::Activation activation, float slope) = 0;

  virtual std::optional<LayerCall> last_call() const { return std::nullopt; }

  Parameter& weight() { return weight_; }
  Parameter* bias() { return bias_ ? &*bias_ : nullptr; }

 protected:
  ProductLayer(Tensor weight, std::optional<Tensor> bias);
  std::vector<Parameter*> own_parameters() override;
  std::vector<Variable> inputs(const Variable& x) const;       // x, weight and, if there is one, bias
  bool trains_kept() const;                                    // in training, in fp32, while the weight says so
  std::vector<Variable> kept_inputs(const Variable& x) const;  // as inputs(), the kept weights in place of all
  // The operation of this layer, to be applied to inputs like these.
  virtual std::shared_ptr<ProductFunction> product(kernels::Activation activation, float slope) const = 0;
  // with_activation() while weight().random() is there.
  Variable random_product(const Variable& x, kernels::Activation activation, float slope) const;
  std::string label() const { return name().empty() ? std::string(kind()) : name(); }

 private:
  Parameter weight_;
  std::optional<Parameter> bias_;
};

}  // namespace espalier
