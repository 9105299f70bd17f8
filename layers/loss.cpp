// Losses whose forward leaves the gradient for dloss = 1 behind: backward only scales it, or hands it over as it is.
#include "layers/loss.h"

#include "core/device/memory.h"
#include "core/device/stream.h"
#include "kernels/require.h"
#include "kernels/softmax.h"
#include "kernels/squared_error.h"

namespace espalier {
namespace {

Tensor workspace_of(std::size_t bytes) { return Tensor::empty({std::int64_t(bytes)}, DType::u8); }

struct LossFunction : Function {
  Tensors backward(const Tensor& dloss, const Context& context) const override {
    const Tensor& unit = context.saved[0];
    Tensor gradient = Tensor::like(unit);
    kernels::scale_unit_gradient(unit.size(), unit.data<float>(), dloss.data<float>(), gradient.data<float>(),
                                 current_stream());
    return {gradient, Tensor()};
  }
  Tensors backward_from_one(const Shape&, const Context& context) const override {
    return {context.saved[0], Tensor()};
  }
};

class SoftmaxCrossEntropyFunction final : public LossFunction {
 public:
  explicit SoftmaxCrossEntropyFunction(const LossOptions& options) : options_(options) {}
  std::string_view name() const override { return "softmax_cross_entropy"; }

  Tensor forward(const Tensors& inputs, Context& context) const override {
    const Tensor &logits = inputs[0], &labels = inputs[1];
    const bool wide = labels.dtype() == DType::i32;
    require(logits.shape().rank() == 2, "softmax_cross_entropy: logits ", logits.shape().to_string(),
            " must be [batch, classes]; is a Flatten missing?");
    require(labels.size() == logits.shape()[0], "softmax_cross_entropy: ", labels.size(), " labels for logits ",
            logits.shape().to_string());
    require(wide || labels.dtype() == DType::u8, "softmax_cross_entropy: labels have type ",
            std::string(to_string(labels.dtype())), "; class numbers must be u8 or i32");
    const kernels::MatrixShape shape{logits.shape()[0], logits.shape()[1]};
    const Tensor loss = Tensor::empty({1});
    const Tensor workspace = workspace_of(kernels::softmax_cross_entropy_workspace_bytes(shape));
    kernels::SoftmaxCrossEntropyOutputs outputs{.loss = loss.data<float>()};
    if (options_.metrics != nullptr) {
      options_.metrics->require_classes(shape.columns);
      outputs.loss_sum = options_.metrics->loss_sum();
      outputs.confusion = options_.metrics->confusion();
    }
    if (context.recording) {
      context.saved = {Tensor::like(logits)};
      outputs.dlogits = context.saved[0].data<float>();
    }
    const auto launch = [&](const auto* on_device) {
      kernels::softmax_cross_entropy(shape, options_.label_smoothing, logits.data<float>(), on_device, outputs,
                                     workspace.raw(), current_stream(), current_pool().arrivals());
    };
    if (wide)
      launch(static_cast<const std::int32_t*>(labels.data<std::int32_t>()));
    else
      launch(static_cast<const std::uint8_t*>(labels.data<std::uint8_t>()));
    return loss;
  }

 private:
  LossOptions options_;
};

struct MeanSquaredErrorFunction final : LossFunction {
  std::string_view name() const override { return "mean_squared_error"; }

  Tensor forward(const Tensors& inputs, Context& context) const override {
    const Tensor &prediction = inputs[0], &target = inputs[1];
    require(prediction.shape() == target.shape(), "mean_squared_error: prediction ", prediction.shape().to_string(),
            ", target ", target.shape().to_string(), "; reshape one of them");
    const Tensor loss = Tensor::empty({1});
    const Tensor workspace = workspace_of(kernels::mean_squared_error_workspace_bytes(prediction.size()));
    float* unit_gradient = nullptr;
    if (context.recording) {
      context.saved = {Tensor::like(prediction)};
      unit_gradient = context.saved[0].data<float>();
    }
    kernels::mean_squared_error(prediction.size(), prediction.data<float>(), target.data<float>(), loss.data<float>(),
                                unit_gradient, workspace.raw(), current_stream());
    return loss;
  }
};

}  // namespace

Variable softmax_cross_entropy(const Variable& logits, const Tensor& labels, const LossOptions& options) {
  return apply(std::make_shared<SoftmaxCrossEntropyFunction>(options), {logits, Variable(labels)});
}

Variable mean_squared_error(const Variable& prediction, const Tensor& target) {
  return apply(std::make_shared<MeanSquaredErrorFunction>(), {prediction, Variable(target)});
}

}  // namespace espalier
