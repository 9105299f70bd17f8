// The convolution while only its kept weights are trained: y = activation(x * W + b), forward, dx and dw in time
// proportional to what the mask keeps, by direct sparse convolutions. dx of a stride above 1 is the dense one. Equal to
// Conv2dFunction but for the order of the sums.
#pragma once
#include <memory>

#include "core/train/kept_weights.h"
#include "layers/conv2d.h"

namespace espalier {

struct KeptConv2dFunction final : ProductFunction {
  KeptConv2dFunction(const Conv2dFunction& of, Tensor weight_, std::shared_ptr<KeptWeights> kept_)
      : ProductFunction(of), convolution(of), weight(std::move(weight_)), kept(std::move(kept_)) {}
  std::string_view name() const override { return "conv2d, kept weights"; }
  // inputs: x, kept->values, which forward fills from the weight, and optionally bias [filters].
  Tensor forward(const Tensors& inputs, Context& context) const override;
  Tensors backward(const Tensor& output_gradient, const Context& context) const override;

  Conv2dFunction convolution;
  Tensor weight;  // [filters, channels / groups, kernel, kernel], whose pruned elements are zero
  std::shared_ptr<KeptWeights> kept;

 private:
  Tensor input_gradient(const kernels::Conv2dShape& shape, const Tensor& dz) const;
};

}  // namespace espalier
