#include "layers/product.h"

#include "core/device/stream.h"
#include "kernels/reduce.h"
#include "layers/activation.h"
#include "layers/gaussian_noise.h"
#include "layers/reduced_precision.h"

namespace espalier {

std::optional<float> ProductFunction::output_slope() const {
  if (activation == kernels::Activation::relu) return 0.0f;
  if (activation == kernels::Activation::leaky_relu) return slope;
  return std::nullopt;
}

Tensor ProductFunction::weight_operand(const Tensor& weight) const {
  return weight_rounded ? weight : operand(weight, precision);
}

Tensor ProductFunction::product_gradient(const Tensor& dy, const Tensor& y, const Context& context) const {
  if (activation == kernels::Activation::none || context.slope_applied) return dy;
  Tensor dz = Tensor::like(dy);
  kernels::activation_backward(dy.size(), activation, slope, y.data<float>(), dy.data<float>(), dz.data<float>(),
                               current_stream());
  return dz;
}

Tensor ProductFunction::sums_over_batch(const Tensor& dy) {
  const kernels::MatrixShape shape{.rows = dy.shape()[0], .columns = dy.shape()[1]};
  Tensor sums = Tensor::empty({shape.columns});
  const Tensor scratch = Tensor::empty({std::int64_t(kernels::reduce_columns_workspace_bytes(shape)) + 1}, DType::u8);
  kernels::reduce_columns(shape, kernels::Reduction::sum, dy.data<float>(), sums.data<float>(), scratch.raw(),
                          current_stream());
  return sums;
}

ProductLayer::ProductLayer(Tensor weight, std::optional<Tensor> bias) : weight_("weight", std::move(weight)) {
  if (bias) bias_.emplace("bias", std::move(*bias));
  weight_.can_be_random = true;
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

Variable ProductLayer::random_product(const Variable& x, kernels::Activation activation, float slope) const {
  const RandomWeight& random = *weight_.random();
  std::vector<Variable> of_mean = inputs(x);
  if (!training()) {
    of_mean[1] = random.expected(weight_.value);
    return espalier::apply(product(activation, slope), of_mean);
  }
  const DrawnWeight drawn = random.draw(weight_.value);
  of_mean[1] = drawn.mean;
  if (!drawn.variance) return espalier::apply(product(activation, slope), of_mean);
  const Variable mean = espalier::apply(product(kernels::Activation::none, 0.0f), of_mean);
  const Variable squares = espalier::apply(std::make_shared<SquareFunction>(), {x});
  const Variable variance = espalier::apply(product(kernels::Activation::none, 0.0f), {squares, *drawn.variance});
  const Variable y = espalier::apply(std::make_shared<GaussianNoiseFunction>(drawn.seed, drawn.step), {mean, variance});
  if (activation == kernels::Activation::none) return y;
  return espalier::apply(std::make_shared<ActivationFunction>(activation, slope), {y});
}

}  // namespace espalier
