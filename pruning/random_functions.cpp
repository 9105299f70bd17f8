#include "pruning/random_functions.h"

#include "core/device/stream.h"

namespace espalier::pruning {

kernels::VariationalWeight variational(const Tensor& weight, const Tensor& log_variance, const Tensor& keep) {
  kernels::VariationalWeight view{
      .count = weight.size(), .mean = weight.data<float>(), .log_variance = log_variance.data<float>()};
  if (keep.defined()) view.keep = keep.data<std::uint8_t>();
  return view;
}

Tensor gated(const kernels::PlanesShape& groups, const Tensor& gates, const Tensor& weight) {
  Tensor result = Tensor::like(weight);
  kernels::gate_weights(groups, gates.data<float>(), weight.data<float>(), result.data<float>(), current_stream());
  return result;
}

Tensor WeightVarianceFunction::forward(const Tensors& inputs, Context& context) const {
  Tensor variance = Tensor::like(inputs[0]);
  kernels::weight_variance(variational(inputs[0], inputs[1], keep), variance.data<float>(), current_stream());
  if (context.recording) context.saved = inputs;
  return variance;
}

Tensors WeightVarianceFunction::backward(const Tensor& of_variance, const Context& context) const {
  Tensor of_weight = Tensor::like(of_variance), of_log_variance = Tensor::like(of_variance);
  kernels::variational_gradients(variational(context.saved[0], context.saved[1], keep), of_variance.data<float>(),
                                 strength.data<float>(), of_weight.data<float>(), of_log_variance.data<float>(),
                                 current_stream());
  return {of_weight, of_log_variance};
}

Tensor HardConcreteFunction::forward(const Tensors& inputs, Context& context) const {
  const Tensor &weight = inputs[0], &log_alpha = inputs[1];
  const Tensor gates = Tensor::like(log_alpha), slopes = Tensor::like(log_alpha);
  kernels::draw_gates(gates.size(), {}, seed, step.data<std::int64_t>(), log_alpha.data<float>(), gates.data<float>(),
                      slopes.data<float>(), current_stream());
  if (context.recording) context.saved = {weight, log_alpha, gates, slopes};
  return gated(groups, gates, weight);
}

Tensors HardConcreteFunction::backward(const Tensor& of_gated, const Context& context) const {
  const Tensor &weight = context.saved[0], &log_alpha = context.saved[1];
  Tensor of_weight = Tensor::like(weight), of_log_alpha = Tensor::like(log_alpha);
  kernels::gate_gradients(groups, {}, context.saved[2].data<float>(), context.saved[3].data<float>(),
                          log_alpha.data<float>(), weight.data<float>(), of_gated.data<float>(), strength.data<float>(),
                          {of_weight.data<float>(), of_log_alpha.data<float>()}, current_stream());
  return {of_weight, of_log_alpha};
}

Tensor GatedFunction::forward(const Tensors& inputs, Context&) const { return gated(groups, gates, inputs[0]); }

Tensors GatedFunction::backward(const Tensor& of_gated, const Context&) const {
  return {gated(groups, gates, of_gated)};
}

}  // namespace espalier::pruning
