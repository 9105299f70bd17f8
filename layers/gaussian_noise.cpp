#include "layers/gaussian_noise.h"

#include "core/device/stream.h"
#include "kernels/elementwise.h"
#include "kernels/variational.h"

namespace espalier {

Tensor SquareFunction::forward(const Tensors& inputs, Context& context) const {
  const Tensor& x = inputs[0];
  Tensor y = Tensor::like(x);
  kernels::multiply(x.size(), x.data<float>(), x.data<float>(), y.data<float>(), current_stream());
  if (context.recording) context.saved = {x};
  return y;
}

Tensors SquareFunction::backward(const Tensor& dy, const Context& context) const {
  Tensor dx = Tensor::like(dy);
  kernels::square_backward(dy.size(), context.saved[0].data<float>(), dy.data<float>(), dx.data<float>(),
                           current_stream());
  return {dx};
}

Tensor GaussianNoiseFunction::forward(const Tensors& inputs, Context& context) const {
  const Tensor &mean = inputs[0], &variance = inputs[1];
  Tensor y = Tensor::like(mean), slope = Tensor::like(mean);
  kernels::add_gaussian_noise(mean.size(), seed, step.data<std::int64_t>(), mean.data<float>(), variance.data<float>(),
                              y.data<float>(), slope.data<float>(), current_stream());
  if (context.recording) context.saved = {slope};
  return y;
}

Tensors GaussianNoiseFunction::backward(const Tensor& dy, const Context& context) const {
  Tensor of_variance = Tensor::like(dy);
  kernels::multiply(dy.size(), context.saved[0].data<float>(), dy.data<float>(), of_variance.data<float>(),
                    current_stream());
  return {dy, of_variance};
}

}  // namespace espalier
