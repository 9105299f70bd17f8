// The dense layer while only its kept weights are trained: y = activation(x W^T + b), forward, dx and dw in time
// proportional to what the mask keeps. Equal to DenseFunction but for the order of the sums.
#pragma once
#include <memory>

#include "core/train/kept_weights.h"
#include "layers/product.h"

namespace espalier {

struct KeptDenseFunction final : ProductFunction {
  KeptDenseFunction(Tensor weight_, std::shared_ptr<KeptWeights> kept_)
      : weight(std::move(weight_)), kept(std::move(kept_)) {}
  std::string_view name() const override { return "dense, kept weights"; }
  // inputs: x [batch, in], kept->values, which forward fills from the weight, and optionally bias [out].
  Tensor forward(const Tensors& inputs, Context& context) const override;
  Tensors backward(const Tensor& output_gradient, const Context& context) const override;

  Tensor weight;  // [out, in], whose pruned elements are zero
  std::shared_ptr<KeptWeights> kept;
};

}  // namespace espalier
