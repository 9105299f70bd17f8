#include "layers/conv_pool.h"

#include "core/device/stream.h"
#include "kernels/conv2d_pool.h"
#include "kernels/require.h"
#include "layers/scratch.h"

namespace espalier {
namespace {

struct Saved {
  const Tensor &x, &weight, &y, &route;
};

Saved saved_in(const Context& context) {
  return {context.saved[0], context.saved[1], context.saved[2], context.saved[3]};
}

}  // namespace

bool ConvPool2dFunction::takes(const PoolWindow& pool) {
  return pool.window == 2 && pool.stride == 2 && pool.padding == 0;
}

bool ConvPool2dFunction::takes(kernels::Activation activation) {
  return activation == kernels::Activation::none || activation == kernels::Activation::relu ||
         activation == kernels::Activation::leaky_relu;
}

const Conv2dFunction* convolution_of(const Function& function) {
  if (const auto* const block = dynamic_cast<const ConvPool2dFunction*>(&function)) return &block->convolution;
  return dynamic_cast<const Conv2dFunction*>(&function);
}

Conv2dFunction ConvPool2dFunction::without_pool() const {
  Conv2dFunction alone = convolution;
  alone.activation = activation, alone.slope = slope, alone.weight_rounded = weight_rounded;
  return alone;
}

Tensor ConvPool2dFunction::forward(const Tensors& inputs, Context& context) const {
  if (precision != Precision::fp32 && !context.recording) {
    return MaxPool2dFunction(PoolWindow(2, 2, 0)).forward({without_pool().forward(inputs, context)}, context);
  }
  const Tensor &x = inputs[0], &weight = inputs[1];
  const kernels::Conv2dShape shape = convolution.shape_for(x.shape(), weight.shape());
  require(shape.out_height() >= 2 && shape.out_width() >= 2, label, ": its result of ", shape.out_height(), " x ",
          shape.out_width(), " is too small for the pool of 2 x 2 behind it; pad more or leave the pool away");
  Tensor y = Tensor::empty({shape.batch, shape.filters, shape.out_height() / 2, shape.out_width() / 2});
  Tensor route;
  if (context.recording) route = Tensor::empty({std::int64_t(kernels::conv2d_pool_route_bytes(shape))}, DType::u8);
  const float* const bias = inputs.size() > 2 ? static_cast<const float*>(inputs[2].data<float>()) : nullptr;
  kernels::conv2d_pool_forward(shape, x.data<float>(), weight.data<float>(), bias, y.data<float>(),
                               static_cast<std::uint8_t*>(route.raw()), activation, slope, current_stream());
  if (context.recording) context.saved = {x, weight, y, route};
  return y;
}

Tensors ConvPool2dFunction::backward(const Tensor& dy, const Context& context) const {
  const Saved saved = saved_in(context);
  const kernels::Conv2dShape shape = convolution.shape_for(saved.x.shape(), saved.weight.shape());
  const auto y = saved.y.data<float>(), gradient = dy.data<float>();
  const auto route = saved.route.data<std::uint8_t>();
  Tensors gradients(context.needs_gradient.size());
  const bool bias = gradients.size() > 2 && context.needs(2);
  float* dx = nullptr;
  if (context.needs(0)) {
    gradients[0] = Tensor::like(saved.x);
    dx = gradients[0].data<float>();
  }
  if (context.needs(1) || bias) {
    gradients[1] = Tensor::like(saved.weight);
    if (bias) gradients[2] = Tensor::empty({shape.filters});
    float* const db = bias ? static_cast<float*>(gradients[2].data<float>()) : nullptr;
    const Scratch scratch(kernels::conv2d_pool_backward_weight_workspace(shape));
    float* const dw = gradients[1].data<float>();
    if (dx != nullptr) {
      kernels::conv2d_pool_backward(shape, saved.x.data<float>(), y, gradient, route, saved.weight.data<float>(), dx,
                                    dw, db, activation, slope, scratch.get(), current_stream());
    } else {
      kernels::conv2d_pool_backward_weight(shape, saved.x.data<float>(), y, gradient, route, dw, db, activation, slope,
                                           scratch.get(), current_stream());
    }
  } else if (dx != nullptr) {
    kernels::conv2d_pool_backward_input(shape, y, gradient, route, saved.weight.data<float>(), dx, activation, slope,
                                        current_stream());
  }
  return gradients;
}

}  // namespace espalier
