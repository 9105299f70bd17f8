// Batch normalisation as a Function of x, gamma, beta and the running statistics.
#include "layers/batch_norm.h"

#include "core/device/stream.h"
#include "kernels/batch_norm.h"
#include "kernels/require.h"

namespace espalier {
namespace {

kernels::PlanesShape planes_of(const Shape& shape) {
  const std::int64_t batch = shape[0], channels = shape[1];
  return {batch, channels, shape.size() / (batch * channels)};
}

kernels::BatchStatistics statistics_of(const Tensor& mean, const Tensor& inverse_deviation) {
  return {mean.data<float>(), inverse_deviation.data<float>()};
}

Tensor workspace_for(const kernels::PlanesShape& shape) {
  return Tensor::empty({std::int64_t(kernels::batch_norm_workspace_bytes(shape))}, DType::u8);
}

}  // namespace

Tensor BatchNormFunction::forward(const Tensors& inputs, Context& context) const {
  const Tensor &x = inputs[0], &gamma = inputs[1];
  const kernels::PlanesShape shape = planes_of(x.shape());
  const kernels::Affine affine{gamma.data<float>(), inputs[2].data<float>()};
  const kernels::RunningStatistics running{inputs[3].data<float>(), inputs[4].data<float>(), options.momentum};
  const Tensor y = Tensor::like(x), mean = Tensor::like(gamma), inverse_deviation = Tensor::like(gamma);
  const kernels::BatchStatistics statistics = statistics_of(mean, inverse_deviation);
  if (training) {
    const Tensor workspace = workspace_for(shape);
    kernels::batch_norm_forward_training(shape, options.epsilon, x.data<float>(), affine, y.data<float>(), statistics,
                                         running, workspace.raw(), current_stream());
  } else {
    kernels::batch_norm_use_running(shape.channels, options.epsilon, running, statistics, current_stream());
    kernels::batch_norm_forward_inference(shape, x.data<float>(), affine, statistics, y.data<float>(),
                                          current_stream());
  }
  if (context.recording) context.saved = {x, gamma, mean, inverse_deviation};
  return y;
}

Tensors BatchNormFunction::backward(const Tensor& dy, const Context& context) const {
  const Tensor &x = context.saved[0], &gamma = context.saved[1];
  const kernels::PlanesShape shape = planes_of(x.shape());
  const Tensor dx = Tensor::like(x), dgamma = Tensor::like(gamma), dbeta = Tensor::like(gamma);
  const Tensor workspace = workspace_for(shape);
  using kernels::StatisticsKind;
  kernels::batch_norm_backward(shape, training ? StatisticsKind::of_batch : StatisticsKind::constant, x.data<float>(),
                               gamma.data<float>(), statistics_of(context.saved[2], context.saved[3]), dy.data<float>(),
                               {dx.data<float>(), dgamma.data<float>(), dbeta.data<float>()}, workspace.raw(),
                               current_stream());
  return {dx, dgamma, dbeta, Tensor(), Tensor()};
}

BatchNorm::BatchNorm(std::int64_t channels, const BatchNormOptions& options)
    : gamma("gamma", Tensor::full({channels}, 1.0f)),
      beta("beta", Tensor::zeros({channels})),
      running_mean{"running_mean", Tensor::zeros({channels})},
      running_variance{"running_variance", Tensor::full({channels}, 1.0f)},
      options_(options) {
  require(options.epsilon > 0, "batch_norm: epsilon ", options.epsilon, " must be positive");
}

Variable BatchNorm::operator()(const Variable& x) {
  check_rank(x.shape());
  require(x.shape()[1] == gamma.size(), name(), ": input ", x.shape().to_string(), " has ", x.shape()[1],
          " channels, the layer ", gamma.size());
  auto function = std::make_shared<BatchNormFunction>();
  function->options = options_;
  function->training = training();
  return apply(std::move(function),
               {x, gamma.value, beta.value, Variable(running_mean.value), Variable(running_variance.value)});
}

Description BatchNorm::describe() const {
  return {std::string(kind()),
          {{"channels", gamma.size()}, {"epsilon", double(options_.epsilon)}, {"momentum", double(options_.momentum)}},
          {}};
}

void BatchNorm::require_rank(bool right, const Shape& x, const char* expected) const {
  require(right, name().empty() ? std::string(kind()) : name(), ": input ", x.to_string(), " must be ", expected);
}

void BatchNorm1d::check_rank(const Shape& x) const {
  require_rank(x.rank() == 2 || x.rank() == 3, x, "[batch, channels] or [batch, channels, length]");
}

void BatchNorm2d::check_rank(const Shape& x) const {
  require_rank(x.rank() == 4, x, "[batch, channels, height, width]");
}

}  // namespace espalier
