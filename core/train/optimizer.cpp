#include "core/train/optimizer.h"

#include <cmath>
#include <set>

#include "core/device/stream.h"
#include "kernels/elementwise.h"
#include "kernels/require.h"

namespace espalier {
namespace {

void require_rate(float rate) {
  require(std::isfinite(rate) && rate >= 0, "optimizer: the learning rate is ", rate, "; it must be at least 0");
}

}  // namespace

Optimizer::Optimizer(std::vector<Parameter*> parameters, float learning_rate)
    : parameters_(std::move(parameters)), learning_rate_(learning_rate) {
  require_rate(learning_rate);
  require(!parameters_.empty(), "an optimizer was given no parameters; does the model have any?");
  std::set<std::string> names;
  for (const Parameter* parameter : parameters_) {
    require(names.insert(parameter->name).second, "optimizer: two parameters are called ", parameter->name,
            "; each may be given once, and names tell their states apart in a checkpoint");
  }
}

void Optimizer::zero_gradients() {
  for (Parameter* parameter : parameters_) parameter->clear_gradient();
}

void Optimizer::backward(Variable loss) {
  if (!loss_scaler_) return loss.backward();
  require(loss.value().size() == 1, "optimizer: backward() of a result ", loss.shape().to_string(),
          "; reduce it to a loss first");
  loss.backward(loss_scaler_->scale().reshape(loss.shape()));
  backward_was_scaled_ = true;
}

void Optimizer::scale_loss(const LossScaleOptions& options) {
  require(!loss_scaler_, "optimizer: the loss is scaled already; a captured step knows its place on the device");
  loss_scaler_.emplace(options);
  write_loss_scale(loss_scaler_->on_device());
}

void Optimizer::set_loss_scale(const LossScaleStatus& status) {
  require(loss_scaler_.has_value(), "optimizer: a loss scale was given, but scale_loss() was never called");
  loss_scaler_->set_status(status);
}

void Optimizer::look_for_overflow() {
  if (!loss_scaler_) return;
  require(backward_was_scaled_,
          "optimizer: the loss is scaled, but the gradients are not; call backward(loss) of the optimizer instead of "
          "loss.backward()");
  backward_was_scaled_ = false;
  loss_scaler_->look_at(parameters_);
}

float Optimizer::learning_rate() const { return listed_rates_.defined() ? read_rates().learning_rate : learning_rate_; }

void Optimizer::set_learning_rate(float rate) {
  require_rate(rate);
  learning_rate_ = rate;
  if (!listed_rates_.defined()) return kernels::fill(1, rate, device_learning_rate(), current_stream());
  write_rates({rate});
  listed_rates_ = Tensor();
}

void Optimizer::set_learning_rates(std::span<const float> rates) {
  require(!rates.empty(), "optimizer: a list of no learning rates");
  for (const float rate : rates) require_rate(rate);
  const std::int64_t count = std::int64_t(rates.size()), begin = steps();
  learning_rate_ = learning_rate();
  listed_rates_ = Tensor::from({count}, rates);
  write_rates({learning_rate_, {listed_rates_.data<float>(), begin, begin + count}});
}

std::optional<Optimizer::Change> Optimizer::change_of(std::size_t i, std::initializer_list<const Tensor*> moments) {
  const Parameter& parameter = *parameters_[i];
  const Variable& trained = parameter.trained();
  if (!trained.has_gradient()) return std::nullopt;
  Change change{.gradient = trained.gradient().data<float>(), .count = trained.value().size()};
  if (!parameter.mask()) return change;
  if (&trained == &parameter.value) {
    change.keep = parameter.keep_bits().data<std::uint32_t>();
    return change;
  }
  change.places = parameter.kept()->view().places;
  if (updated_kept_.empty()) updated_kept_.resize(parameters_.size());
  if (updated_kept_[i] == parameter.kept()) return change;
  updated_kept_[i] = parameter.kept();
  for (const Tensor* moment : moments) {
    const auto address = moment->data<float>();
    kernels::apply_keep(moment->size(), parameter.mask()->keep.data<std::uint8_t>(), address, address,
                        current_stream());
  }
  return change;
}

std::vector<Buffer> Optimizer::zeros_for_each(const std::string& role) const {
  std::vector<Buffer> buffers;
  for (const Parameter* parameter : parameters_) {
    buffers.push_back({role + "/" + parameter->name, Tensor::zeros(parameter->value.shape())});
  }
  return buffers;
}

}  // namespace espalier
