#include "layers/conv2d.h"

#include "core/device/stream.h"
#include "core/tensor/initialise.h"
#include "kernels/conv2d.h"
#include "kernels/require.h"

namespace espalier {

kernels::Conv2dShape Conv2dFunction::shape_for(const Shape& x, const Shape& weight) const {
  require(x.rank() == 4, label, ": input ", x.to_string(), " must be images [N, C, H, W]");
  require(x[1] == weight[1] * groups, label, ": input ", x.to_string(), " has ", x[1], " channels, weight ",
          weight.to_string(), " in ", groups, " group(s) expects ", weight[1] * groups);
  const kernels::Conv2dShape shape{.batch = x[0],
                                   .channels = x[1],
                                   .height = x[2],
                                   .width = x[3],
                                   .filters = weight[0],
                                   .kernel_height = weight[2],
                                   .kernel_width = weight[3],
                                   .stride = stride,
                                   .padding = padding,
                                   .dilation = dilation,
                                   .groups = groups};
  kernels::require_valid(shape, label.c_str());
  return shape;
}

Tensor Conv2dFunction::forward(const Tensors& inputs, Context& context) const {
  const Tensor &x = inputs[0], &weight = inputs[1];
  const kernels::Conv2dShape shape = shape_for(x.shape(), weight.shape());
  Tensor y = Tensor::empty({shape.batch, shape.filters, shape.out_height(), shape.out_width()});
  const float* const bias = inputs.size() > 2 ? static_cast<float*>(inputs[2].data<float>()) : nullptr;
  kernels::conv2d_forward(shape, x.data<float>(), weight.data<float>(), bias, y.data<float>(), activation,
                          current_stream());
  if (context.recording) context.saved = {x, weight, y};
  return y;
}

Tensors Conv2dFunction::backward(const Tensor& dy, const Context& context) const {
  const Tensor &x = context.saved[0], &weight = context.saved[1];
  const kernels::Conv2dShape shape = shape_for(x.shape(), weight.shape());
  const Tensor dz = product_gradient(dy, context.saved[2]);
  Tensors gradients(context.needs_gradient.size());
  if (context.needs(0)) {
    gradients[0] = Tensor::like(x);
    kernels::conv2d_backward_input(shape, dz.data<float>(), weight.data<float>(), gradients[0].data<float>(),
                                   current_stream());
  }
  const bool bias = gradients.size() > 2 && context.needs(2);
  if (context.needs(1) || bias) {
    gradients[1] = Tensor::like(weight);
    if (bias) gradients[2] = Tensor::empty({shape.filters});
    const std::int64_t floats = kernels::conv2d_backward_weight_workspace(shape);
    const Tensor scratch = Tensor::empty({floats + 1});
    kernels::conv2d_backward_weight(shape, x.data<float>(), dz.data<float>(), gradients[1].data<float>(),
                                    bias ? static_cast<float*>(gradients[2].data<float>()) : nullptr,
                                    {scratch.data<float>(), floats}, current_stream());
  }
  return gradients;
}

Conv2d::Conv2d(std::int64_t channels, std::int64_t filters, const Conv2dOptions& options)
    : ProductLayer(kaiming_uniform({filters, channels / options.groups, options.kernel, options.kernel}, options.seed),
                   options.bias ? std::optional(Tensor::zeros({filters})) : std::nullopt),
      channels_(channels),
      filters_(filters),
      options_(options) {
  require(channels % options.groups == 0 && filters % options.groups == 0, "conv2d: ", options.groups,
          " groups must divide ", channels, " channels and ", filters, " filters");
}

Variable Conv2d::with_activation(const Variable& x, kernels::Activation activation, float slope) {
  auto function = std::make_shared<Conv2dFunction>();
  function->label = label();
  function->activation = activation;
  function->slope = slope;
  function->stride = options_.stride;
  function->padding = options_.padding;
  function->dilation = options_.dilation;
  function->groups = options_.groups;
  return espalier::apply(std::move(function), inputs(x));  // std::apply would be found too
}

Description Conv2d::describe() const {
  return {"conv2d",
          {{"channels", channels_},
           {"filters", filters_},
           {"kernel", options_.kernel},
           {"stride", options_.stride},
           {"padding", options_.padding},
           {"dilation", options_.dilation},
           {"groups", options_.groups},
           {"bias", std::int64_t(options_.bias)}},
          {}};
}

}  // namespace espalier
