// Fully connected layer: y = activation(x W^T + b), x [batch, in], W [out, in], b [out], y [batch, out].
#pragma once
#include <cstdint>

#include "layers/product.h"

namespace espalier {

struct DenseFunction final : ProductFunction {
  std::string_view name() const override { return "dense"; }
  // inputs: x [batch, in], weight [out, in] and optionally bias [out]; throws InvalidArgument where they do not fit.
  Tensor forward(const Tensors& inputs, Context& context) const override;
  Tensors backward(const Tensor& output_gradient, const Context& context) const override;
  bool applies_input_slopes() const override { return precision == Precision::fp32 && !vendor(); }

 private:
  Tensors backward_as_pair(const Tensor& dy, const Context& context) const;  // fp32 by hand: one launch
  Tensors backward_one_by_one(const Tensor& product_dy, const Context& context) const;
};

struct DenseOptions {
  bool bias = true;
  std::uint64_t seed = 0;  // of the first weights: Kaiming with gain 1; the bias starts at zero
};

class Dense : public ProductLayer {
 public:
  Dense(std::int64_t in_features, std::int64_t out_features, const DenseOptions& options = {});
  Variable with_activation(const Variable& x, kernels::Activation activation, float slope) override;
  std::optional<LayerCall> last_call() const override { return LayerCall{describe(), {in_features_}}; }
  std::string_view kind() const override { return "dense"; }
  Description describe() const override;

 private:
  std::shared_ptr<ProductFunction> product(kernels::Activation activation, float slope) const override;
  Variable kept_product(const Variable& x, kernels::Activation activation, float slope);

  std::int64_t in_features_, out_features_;
  bool has_bias_;
};

}  // namespace espalier
