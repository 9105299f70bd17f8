#include "layers/dense.h"

#include "core/device/stream.h"
#include "core/tensor/initialise.h"
#include "kernels/gemm.h"
#include "kernels/require.h"
#include "kernels/vendor/blas.h"
#include "layers/kept_dense.h"
#include "layers/reduced_precision.h"
#include "layers/scratch.h"

namespace espalier {
namespace {

using kernels::GemmEpilogue;
using kernels::GemmShape;
using kernels::Transpose;

void fp32_product(bool vendor, const GemmShape& shape, const GemmOperand& a, const GemmOperand& b, const Tensor& c,
                  const GemmEpilogue& epilogue) {
  const Scratch scratch(vendor ? kernels::vendor::gemm_workspace_floats(shape) : kernels::gemm_workspace_floats(shape));
  const auto gemm = [&](auto&& launcher) {
    launcher(shape, a.transpose, b.transpose, a.matrix.data<float>(), b.matrix.data<float>(), c.data<float>(), epilogue,
             current_stream(), scratch.get());
  };
  if (vendor) {
    gemm([](auto&&... arguments) { kernels::vendor::gemm(arguments...); });
  } else {
    gemm([](auto&&... arguments) { kernels::gemm(arguments...); });
  }
}

// The operands are of the function's precision, the result is fp32.
void product(const DenseFunction& function, const GemmShape& shape, const GemmOperand& a, const GemmOperand& b,
             const Tensor& c, const GemmEpilogue& epilogue = {}) {
  if (function.precision == Precision::fp32) return fp32_product(function.vendor(), shape, a, b, c, epilogue);
  reduced_gemm(shape, a, b, c, epilogue);
}

// What is left to this layer of its input's backward: the activation that made it.
GemmEpilogue input_gate(const Tensor& x, const Context& context) {
  const std::optional<float> below = context.input_slope(0);
  if (!below) return {};
  return {.gate = x.data<float>(), .gate_slope = *below};
}

void require_fitting(const DenseFunction& function, const Tensors& inputs) {
  const Shape &x = inputs[0].shape(), &weight = inputs[1].shape();
  require(x.rank() == 2, function.label, ": input ", x.to_string(),
          " must be [batch, features]; put a Flatten() before it");
  require(x[1] == weight[1], function.label, ": input has ", x[1], " features, weight expects ", weight[1],
          "; did the image size or a pool change?");
}

}  // namespace

Tensor DenseFunction::forward(const Tensors& inputs, Context& context) const {
  require_fitting(*this, inputs);
  const Tensor x = operand(inputs[0], precision), weight = weight_operand(inputs[1]);
  Tensor y = Tensor::empty({x.shape()[0], weight.shape()[0]});  // [batch, out]
  GemmEpilogue epilogue{.activation = activation, .leaky_slope = slope};
  if (inputs.size() > 2) epilogue.bias = inputs[2].data<float>();
  product(*this, {.m = x.shape()[0], .n = weight.shape()[0], .k = weight.shape()[1]}, {x, Transpose::no},
          {weight, Transpose::yes}, y, epilogue);
  if (context.recording) context.saved = {x, weight, y};
  return y;
}

Tensors DenseFunction::backward(const Tensor& dy, const Context& context) const {
  const Tensor product_dy = product_gradient(dy, context.saved[2], context);  // [batch, out]
  const bool pair = precision == Precision::fp32 && !vendor() && context.needs(0) && context.needs(1);
  return pair ? backward_as_pair(product_dy, context) : backward_one_by_one(product_dy, context);
}

// dx [batch, in] = dy W beside dw [out, in] = dy^T x with the sums of dy^T's rows, which are db.
Tensors DenseFunction::backward_as_pair(const Tensor& dy, const Context& context) const {
  const Tensor &x = context.saved[0], &weight = context.saved[1];
  const std::int64_t batch = x.shape()[0], in = weight.shape()[1], out = weight.shape()[0];
  Tensors gradients(context.needs_gradient.size());
  gradients[0] = Tensor::empty(x.shape());
  gradients[1] = Tensor::empty(weight.shape());
  kernels::GemmCall into_x{.shape = {.m = batch, .n = in, .k = out},
                           .a = dy.data<float>(),
                           .b = weight.data<float>(),
                           .c = gradients[0].data<float>(),
                           .epilogue = input_gate(x, context)};
  kernels::GemmCall into_weight{.shape = {.m = out, .n = in, .k = batch},
                                .transpose_a = Transpose::yes,
                                .a = dy.data<float>(),
                                .b = x.data<float>(),
                                .c = gradients[1].data<float>()};
  if (gradients.size() > 2 && context.needs(2)) {
    gradients[2] = Tensor::empty({out});
    into_weight.epilogue.row_sums = gradients[2].data<float>();
  }
  const Scratch scratch(kernels::gemm_pair_workspace_floats(into_x, into_weight));
  kernels::gemm_pair(into_x, into_weight, current_stream(), scratch.get());
  return gradients;
}

Tensors DenseFunction::backward_one_by_one(const Tensor& product_dy, const Context& context) const {
  const Tensor &x = context.saved[0], &weight = context.saved[1];
  const Tensor dz = operand(product_dy, precision);
  const std::int64_t batch = x.shape()[0], in = weight.shape()[1], out = weight.shape()[0];
  Tensors gradients(context.needs_gradient.size());
  if (context.needs(0)) {
    gradients[0] = Tensor::empty(x.shape());  // dz W
    product(*this, {.m = batch, .n = in, .k = out}, {dz, Transpose::no}, {weight, Transpose::no}, gradients[0],
            input_gate(x, context));
  }
  if (context.needs(1)) {
    gradients[1] = Tensor::empty(weight.shape());  // dz^T x
    product(*this, {.m = out, .n = in, .k = batch}, {dz, Transpose::yes}, {x, Transpose::no}, gradients[1]);
  }
  if (gradients.size() > 2 && context.needs(2)) gradients[2] = sums_over_batch(product_dy);
  return gradients;
}

Dense::Dense(std::int64_t in_features, std::int64_t out_features, const DenseOptions& options)
    : ProductLayer(kaiming_uniform({out_features, in_features}, options.seed, Nonlinearity::linear),
                   options.bias ? std::optional(Tensor::zeros({out_features})) : std::nullopt),
      in_features_(in_features),
      out_features_(out_features),
      has_bias_(options.bias) {
  weight().can_train_kept = true;
}

Variable Dense::with_activation(const Variable& x, kernels::Activation activation, float slope) {
  if (weight().random()) return random_product(x, activation, slope);
  if (trains_kept()) return kept_product(x, activation, slope);
  return espalier::apply(product(activation, slope), inputs(x));  // std::apply would be found too
}

std::shared_ptr<ProductFunction> Dense::product(kernels::Activation activation, float slope) const {
  auto function = std::make_shared<DenseFunction>();
  function->label = label();
  function->activation = activation;
  function->slope = slope;
  return function;
}

Variable Dense::kept_product(const Variable& x, kernels::Activation activation, float slope) {
  auto function = std::make_shared<KeptDenseFunction>(weight().value.value(), weight().kept());
  function->label = label();
  function->activation = activation;
  function->slope = slope;
  return espalier::apply(std::move(function), kept_inputs(x));
}

Description Dense::describe() const {
  return {
      "dense", {{"in_features", in_features_}, {"out_features", out_features_}, {"bias", std::int64_t(has_bias_)}}, {}};
}

}  // namespace espalier
