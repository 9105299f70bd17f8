// Losses whose forward leaves the gradient for dloss = 1 behind: backward only scales it, or hands it over as it is.
#include "layers/loss.h"

#include "core/device/memory.h"
#include "core/device/stream.h"
#include "kernels/distillation.h"
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

// With the place of the gradient, where it is wanted, and of the sums.
kernels::SoftmaxCrossEntropyOutputs outputs_of(const Tensor& logits, const Tensor& loss, MetricsAccumulator* metrics,
                                               Context& context) {
  kernels::SoftmaxCrossEntropyOutputs outputs{.loss = loss.data<float>()};
  if (metrics != nullptr) {
    metrics->require_classes(logits.shape()[1]);
    outputs.loss_sum = metrics->loss_sum();
    outputs.confusion = metrics->confusion();
  }
  if (context.recording) {
    context.saved = {Tensor::like(logits)};
    outputs.dlogits = context.saved[0].data<float>();
  }
  return outputs;
}

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
    const kernels::SoftmaxCrossEntropyOutputs outputs = outputs_of(logits, loss, options_.metrics, context);
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

class DistillationFunction final : public LossFunction {
 public:
  DistillationFunction(Tensors teachers, const DistillationOptions& options)
      : teachers_(std::move(teachers)), options_(options) {}
  std::string_view name() const override { return "distillation_loss"; }

  Tensor forward(const Tensors& inputs, Context& context) const override {
    const Tensor &logits = inputs[0], &labels = inputs[1];
    require(logits.shape().rank() == 2 && labels.size() == logits.shape()[0] && labels.dtype() == DType::i32,
            "distillation_loss: logits ", logits.shape().to_string(), " and ", labels.size(), " labels of type ",
            std::string(to_string(labels.dtype())), "; it needs [batch, classes] and as many labels of type i32");
    kernels::Teachers teachers{.count = int(teachers_.size())};
    require(teachers.count <= kernels::Teachers::kMost, "distillation_loss: ", teachers.count,
            " teachers; there may be 1 to ", kernels::Teachers::kMost);
    fill_in(teachers, logits.shape());
    const kernels::MatrixShape shape{logits.shape()[0], logits.shape()[1]};
    const Tensor loss = Tensor::empty({1});
    const Tensor workspace = workspace_of(kernels::softmax_cross_entropy_workspace_bytes(shape));
    kernels::distillation_loss(shape, {options_.temperature, options_.weight}, teachers, logits.data<float>(),
                               labels.data<std::int32_t>(), outputs_of(logits, loss, options_.metrics, context),
                               workspace.raw(), current_stream(), current_pool().arrivals());
    return loss;
  }

 private:
  void fill_in(kernels::Teachers& teachers, const Shape& logits) const {
    const bool tables = options_.rows.defined();
    require(!tables || (options_.rows.dtype() == DType::i32 && options_.rows.size() == logits[0]),
            "distillation_loss: rows of teachers, ", options_.rows.shape().to_string(), ", for logits ",
            logits.to_string(), "; it needs one of type i32 for each");
    for (std::size_t k = 0; k < teachers_.size(); ++k) {
      const Shape& theirs = teachers_[k].shape();
      require(tables ? theirs.rank() == 2 && theirs[1] == logits[1] : theirs == logits,
              "distillation_loss: a teacher's logits ", theirs.to_string(), " beside logits ", logits.to_string(),
              "; do both know the same classes?");
      teachers.logits[k] = teachers_[k].data<float>();
    }
    if (tables) teachers.rows = options_.rows.data<std::int32_t>();
  }

  Tensors teachers_;
  DistillationOptions options_;
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

Variable distillation_loss(const Variable& logits, const Tensor& labels, const Tensors& teachers,
                           const DistillationOptions& options) {
  return apply(std::make_shared<DistillationFunction>(teachers, options), {logits, Variable(labels)});
}

Variable mean_squared_error(const Variable& prediction, const Tensor& target) {
  return apply(std::make_shared<MeanSquaredErrorFunction>(), {prediction, Variable(target)});
}

}  // namespace espalier
