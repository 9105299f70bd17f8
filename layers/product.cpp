#include "layers/product.h"

#include "core/device/stream.h"

namespace espalier {

std::optional<float> ProductFunction::output_slope() const {
  if (activation == kernels::Activation::relu) return 0.0f;
  if (activation == kernels::Activation::leaky_relu) return slope;
  return std::nullopt;
}

Tensor ProductFunction::product_gradient(const Tensor& dy, const Tensor& y, const Context& context) const {
  if (activation == kernels::Activation::none || context.slope_applied) return dy;
  Tensor dz = Tensor::like(dy);
  kernels::activation_backward(dy.size(), activation, slope, y.data<float>(), dy.data<float>(), dz.data<float>(),
                               current_stream());
  return dz;
}

ProductLayer::ProductLayer(Tensor weight, std::optional<Tensor> bias) : weight_("weight", std::move(weight)) {
  if (bias) bias_.emplace("bias", std::move(*bias));
}

std::vector<Parameter*> ProductLayer::own_parameters() {
  if (!bias_) return {&weight_};
  return {&weight_, &*bias_};
}

bool ProductLayer::trains_kept() const {
  return training() && weight_.kept() != nullptr && current_precision() == Precision::fp32;
}

std::vector<Variable> ProductLayer::kept_inputs(const Variable& x) const {
  std::vector<Variable> inputs{x, weight_.kept()->values};
  if (bias_) inputs.push_back(bias_->value);
  return inputs;
}

std::vector<Variable> ProductLayer::inputs(const Variable& x) const {
  std::vector<Variable> inputs{x, weight_.value};
  if (bias_) inputs.push_back(bias_->value);
  return inputs;
}

}  // namespace espalier
