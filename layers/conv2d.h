// 2-D convolution of images: y = activation(x * W + b), x [N, C, H, W], W [filters, C / groups, kernel, kernel],
// y [N, filters, out_height, out_width] with out = (in + 2 padding - dilation (kernel - 1) - 1) / stride + 1.
#pragma once
#include <cstdint>

#include "kernels/shapes.h"
#include "layers/product.h"

namespace espalier {

struct Conv2dFunction final : ProductFunction {
  std::int64_t stride = 1, padding = 0, dilation = 1, groups = 1;

  std::string_view name() const override { return "conv2d"; }
  // inputs: x, weight and optionally bias [filters]; throws InvalidArgument where they do not fit.
  Tensor forward(const Tensors& inputs, Context& context) const override;
  Tensors backward(const Tensor& output_gradient, const Context& context) const override;
  kernels::Conv2dShape shape_for(const Shape& x, const Shape& weight) const;  // throws InvalidArgument
};

struct Conv2dOptions {
  std::int64_t kernel = 3;  // square
  std::int64_t stride = 1, padding = 0, dilation = 1;
  std::int64_t groups = 1;  // filters see channels / groups each; groups == channels is a depthwise convolution
  bool bias = true;
  std::uint64_t seed = 0;  // of the first weights: Kaiming with gain 1 (a max pool raises the scale); bias zero
};

class Conv2d : public ProductLayer {
 public:
  Conv2d(std::int64_t channels, std::int64_t filters, const Conv2dOptions& options = {});
  Variable with_activation(const Variable& x, kernels::Activation activation, float slope) override;
  // max_pool2d(2) of that, in one pass: for activations that ConvPool2dFunction takes.
  Variable with_pool(const Variable& x, kernels::Activation activation, float slope);
  std::optional<LayerCall> last_call() const override { return last_call_; }
  std::string_view kind() const override { return "conv2d"; }
  Description describe() const override;

 private:
  enum class Pool { none, halves };
  void note_call(const Variable& x, kernels::Activation activation, Pool pool);
  std::shared_ptr<ProductFunction> product(kernels::Activation activation, float slope) const override;
  Conv2dFunction function(kernels::Activation activation, float slope) const;
  Variable kept_product(const Variable& x, kernels::Activation activation, float slope);
  std::int64_t channels_, filters_;
  Conv2dOptions options_;
  std::optional<LayerCall> last_call_;
};

}  // namespace espalier
