// A convolution, its activation and the 2 x 2 max pool behind it as one operation (kernels/conv2d_pool.h): the map
// between them, four times as large as the result, is neither written nor read, and backward keeps two bits a window.
// Sequential and compile() put it in the place of Conv2d, Relu, MaxPool2d(2) in a row, in either order of the last two,
// which is the same: max and activations that never fall commute.
#pragma once
#include "layers/conv2d.h"
#include "layers/pool2d.h"

namespace espalier {

struct ConvPool2dFunction final : ProductFunction {
  Conv2dFunction convolution;  // its activation is that of the block too

  explicit ConvPool2dFunction(const Conv2dFunction& of) : ProductFunction(of), convolution(of) {}
  std::string_view name() const override { return "conv2d_max_pool2d"; }
  // As Conv2dFunction's; y [N, filters, out_height / 2, out_width / 2]. One operation in fp32 alone: a plan's step in
  // another precision computes one after the other, and Sequential records none there.
  Tensor forward(const Tensors& inputs, Context& context) const override;
  Tensors backward(const Tensor& output_gradient, const Context& context) const override;
  Conv2dFunction without_pool() const;
  // Backward passes the activation itself, on the way through the pool.
  std::optional<float> output_slope() const override { return std::nullopt; }

  static bool takes(const PoolWindow& pool);  // 2 x 2, halving, no padding
  static bool takes(kernels::Activation activation);
};

// The convolution that a function is, or begins with; null where there is none.
const Conv2dFunction* convolution_of(const Function& function);

}  // namespace espalier
