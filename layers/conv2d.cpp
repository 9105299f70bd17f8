#include "layers/conv2d.h"

#include <tuple>
#include <utility>

#include "core/device/stream.h"
#include "core/tensor/initialise.h"
#include "kernels/conv2d.h"
#include "kernels/require.h"
#include "kernels/vendor/conv2d.h"
#include "layers/conv_pool.h"
#include "layers/kept_conv2d.h"
#include "layers/reduced_precision.h"
#include "layers/scratch.h"

namespace espalier {

namespace {

using kernels::vendor::Conv2dDirection;

Shape weight_shape(std::int64_t channels, std::int64_t filters, const Conv2dOptions& options) {
  const std::int64_t groups = options.groups, kernel = options.kernel;
  require(channels > 0 && filters > 0 && kernel > 0, "conv2d: ", channels, " channels, ", filters, " filters, kernel ",
          kernel, "; each must be at least 1");
  require(groups > 0 && channels % groups == 0 && filters % groups == 0, "conv2d: ", groups, " groups must divide ",
          channels, " channels and ", filters, " filters");
  require(options.stride > 0 && options.dilation > 0 && options.padding >= 0, "conv2d: stride ", options.stride,
          ", dilation ", options.dilation, ", padding ", options.padding,
          "; stride and dilation must be at least 1, padding at least 0");
  return {filters, channels / groups, kernel, kernel};
}

float* data_or_null(const Tensors& tensors, std::size_t i) {
  return i < tensors.size() ? static_cast<float*>(tensors[i].data<float>()) : nullptr;
}

Tensor input_gradient(const Conv2dFunction& function, const kernels::Conv2dShape& shape, const Tensor& dz,
                      const Tensor& weight) {
  Tensor dx = Tensor::empty({shape.batch, shape.channels, shape.height, shape.width});
  if (function.precision != Precision::fp32) {
    reduced_conv2d_backward_input(shape, dz, weight, dx);
  } else if (function.vendor()) {
    const Scratch scratch(kernels::vendor::conv2d_workspace_floats(shape, Conv2dDirection::input));
    kernels::vendor::conv2d_backward_input(shape, dz.data<float>(), weight.data<float>(), dx.data<float>(),
                                           scratch.get(), current_stream());
  } else {
    const Scratch scratch(kernels::conv2d_backward_input_workspace(shape));
    kernels::conv2d_backward_input(shape, dz.data<float>(), weight.data<float>(), dx.data<float>(), current_stream(),
                                   kernels::Conv2dMethod::fastest, scratch.memory());
  }
  return dx;
}

// db, unless null, is written too.
Tensor weight_gradient(const Conv2dFunction& function, const kernels::Conv2dShape& shape, const Tensor& x,
                       const Tensor& dz, float* db) {
  Tensor dw = Tensor::empty({shape.filters, shape.channels_per_group(), shape.kernel_height, shape.kernel_width});
  if (function.precision != Precision::fp32) {
    reduced_conv2d_backward_weight(shape, x, dz, dw, db);
  } else if (function.vendor()) {
    const Scratch scratch(kernels::vendor::conv2d_workspace_floats(shape, Conv2dDirection::weight));
    kernels::vendor::conv2d_backward_weight(shape, x.data<float>(), dz.data<float>(), dw.data<float>(), db,
                                            scratch.get(), current_stream());
  } else {
    const Scratch scratch(kernels::conv2d_backward_weight_workspace(shape));
    kernels::conv2d_backward_weight(shape, x.data<float>(), dz.data<float>(), dw.data<float>(), db, scratch.get(),
                                    current_stream());
  }
  return dw;
}

// {dx, dw}, handwritten: one launch less than one after the other.
std::pair<Tensor, Tensor> both_gradients(const Conv2dFunction& function, const kernels::Conv2dShape& shape,
                                         const Tensor& x, const Tensor& dz, const Tensor& weight, float* db) {
  Tensor dx = Tensor::empty(x.shape()), dw = Tensor::empty(weight.shape());
  if (function.precision != Precision::fp32) {
    reduced_conv2d_backward(shape, x, dz, weight, dx, dw, db);
    return {dx, dw};
  }
  const Scratch scratch(kernels::conv2d_backward_workspace(shape));
  kernels::conv2d_backward(shape, x.data<float>(), dz.data<float>(), weight.data<float>(), dx.data<float>(),
                           dw.data<float>(), db, scratch.get(), current_stream());
  return {dx, dw};
}

}  // namespace

kernels::Conv2dShape Conv2dFunction::shape_for(const Shape& x, const Shape& weight) const {
  require(x.rank() == 4, label, ": input ", x.to_string(), " must be images [N, C, H, W]; reshape it before");
  require(x[1] == weight[1] * groups, label, ": input ", x.to_string(), " has ", x[1], " channels, weight ",
          weight.to_string(), " in ", groups, " group(s) expects ", weight[1] * groups,
          "; did the filters of the layer before change?");
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
  const kernels::Conv2dShape shape = shape_for(inputs[0].shape(), inputs[1].shape());
  const Tensor x = operand(inputs[0], precision), weight = weight_operand(inputs[1]);
  Tensor y = Tensor::empty({shape.batch, shape.filters, shape.out_height(), shape.out_width()});
  const float* const bias = data_or_null(inputs, 2);
  if (precision != Precision::fp32) {
    reduced_conv2d_forward(shape, x, weight, bias, y, activation, slope);
  } else if (vendor()) {
    const Scratch scratch(kernels::vendor::conv2d_workspace_floats(shape, Conv2dDirection::forward));
    kernels::vendor::conv2d_forward(shape, x.data<float>(), weight.data<float>(), bias, y.data<float>(), activation,
                                    slope, scratch.get(), current_stream());
  } else {
    const Scratch scratch(kernels::conv2d_forward_workspace(shape));
    kernels::conv2d_forward(shape, x.data<float>(), weight.data<float>(), bias, y.data<float>(), activation,
                            current_stream(), kernels::Conv2dMethod::fastest, slope, scratch.memory());
  }
  if (context.recording) {
    context.saved = {x, weight};
    if (activation != kernels::Activation::none) context.saved.push_back(y);
  }
  return y;
}

Tensors Conv2dFunction::backward(const Tensor& dy, const Context& context) const {
  const Tensor &x = context.saved[0], &weight = context.saved[1];
  const kernels::Conv2dShape shape = shape_for(x.shape(), weight.shape());
  const Tensor product_dy = product_gradient(dy, context.saved.back(), context);
  const Tensor dz = operand(product_dy, precision);
  Tensors gradients(context.needs_gradient.size());
  const bool bias = gradients.size() > 2 && context.needs(2);
  if (bias) gradients[2] = Tensor::empty({shape.filters});
  if (context.needs(0) && context.needs(1) && (precision != Precision::fp32 || !vendor())) {
    std::tie(gradients[0], gradients[1]) =
        both_gradients(*this, shape, x, dz, weight, bias ? data_or_null(gradients, 2) : nullptr);
    return gradients;
  }
  if (context.needs(0)) gradients[0] = input_gradient(*this, shape, dz, weight);
  if (context.needs(1)) {
    gradients[1] = weight_gradient(*this, shape, x, dz, bias ? data_or_null(gradients, 2) : nullptr);
  } else if (bias) {
    const auto bytes = std::int64_t(kernels::conv2d_backward_bias_workspace_bytes(shape));
    const Tensor scratch = Tensor::empty({bytes + 1}, DType::u8);
    kernels::conv2d_backward_bias(shape, product_dy.data<float>(), gradients[2].data<float>(), scratch.raw(),
                                  current_stream());
  }
  return gradients;
}

Conv2d::Conv2d(std::int64_t channels, std::int64_t filters, const Conv2dOptions& options)
    : ProductLayer(kaiming_uniform(weight_shape(channels, filters, options), options.seed, Nonlinearity::linear),
                   options.bias ? std::optional(Tensor::zeros({filters})) : std::nullopt),
      channels_(channels),
      filters_(filters),
      options_(options) {
  weight().can_train_kept = true;
  weight().kept_groups = options.groups;
}

Conv2dFunction Conv2d::function(kernels::Activation activation, float slope) const {
  Conv2dFunction function;
  function.label = label();
  function.activation = activation;
  function.slope = slope;
  function.stride = options_.stride;
  function.padding = options_.padding;
  function.dilation = options_.dilation;
  function.groups = options_.groups;
  return function;
}

Variable Conv2d::kept_product(const Variable& x, kernels::Activation activation, float slope) {
  auto kept =
      std::make_shared<KeptConv2dFunction>(function(activation, slope), weight().value.value(), weight().kept());
  return espalier::apply(std::move(kept), kept_inputs(x));
}

void Conv2d::note_call(const Variable& x, kernels::Activation activation, Pool pool) {
  if (!training() || x.shape().rank() != 4) return;
  const Shape image{x.shape()[1], x.shape()[2], x.shape()[3]};
  if (last_call_ && last_call_->input == image) return;
  LayerCall call{{"sequential", {}, {describe()}}, image, x.requires_gradient() ? Gradient::required : Gradient::none};
  if (activation != kernels::Activation::none) call.layers.children.push_back({"relu", {}, {}});  // as any other
  if (pool == Pool::halves) call.layers.children.push_back(MaxPool2d(2).describe());
  last_call_ = std::move(call);
}

Variable Conv2d::with_activation(const Variable& x, kernels::Activation activation, float slope) {
  note_call(x, activation, Pool::none);
  if (weight().random()) return random_product(x, activation, slope);
  if (trains_kept()) return kept_product(x, activation, slope);
  return espalier::apply(product(activation, slope), inputs(x));
}

std::shared_ptr<ProductFunction> Conv2d::product(kernels::Activation activation, float slope) const {
  return std::make_shared<Conv2dFunction>(function(activation, slope));
}

Variable Conv2d::with_pool(const Variable& x, kernels::Activation activation, float slope) {
  note_call(x, activation, Pool::halves);
  if (weight().random()) return MaxPool2d(2)(random_product(x, activation, slope));
  if (trains_kept()) return MaxPool2d(2)(kept_product(x, activation, slope));
  return espalier::apply(std::make_shared<ConvPool2dFunction>(function(activation, slope)), inputs(x));
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
