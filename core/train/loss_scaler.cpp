#include "core/train/loss_scaler.h"

#include <cmath>

#include "core/device/stream.h"
#include "kernels/require.h"

namespace espalier {
namespace {

bool is_power_of_two(float value) {
  int exponent = 0;
  return std::isfinite(value) && value > 0 && std::frexp(value, &exponent) == 0.5f;
}

kernels::LossScaleState device_state(const LossScaleOptions& options) {
  require(is_power_of_two(options.initial) && is_power_of_two(options.growth) && is_power_of_two(options.backoff),
          "loss scale: initial ", options.initial, ", growth ", options.growth, ", backoff ", options.backoff,
          "; each must be a power of two, so that scaling rounds nothing");
  require(options.growth >= 1 && options.backoff < 1 && options.growth_interval >= 1, "loss scale: growth ",
          options.growth, ", backoff ", options.backoff, ", an interval of ", options.growth_interval,
          " steps; growth must be at least 1, backoff below 1, the interval at least one step");
  kernels::LossScaleState state;
  state.growth = options.growth;
  state.backoff = options.backoff;
  state.growth_interval = options.growth_interval;
  return state;
}

}  // namespace

bool LossScaleStatus::valid() const {
  return std::isfinite(scale) && scale > 0 && good_steps >= 0 && skipped_steps >= 0;
}

LossScaler::LossScaler(const LossScaleOptions& options)
    : scale_(Tensor::full({1}, options.initial)), state_(device_state(options)) {}

void LossScaler::look_at(const std::vector<Parameter*>& parameters) const {
  std::vector<kernels::GradientTensor> gradients;
  for (const Parameter* parameter : parameters) {
    const Variable& trained = parameter->trained();
    if (trained.has_gradient()) gradients.push_back({trained.gradient().data<float>(), trained.value().size()});
  }
  kernels::find_overflow(gradients, state_.get(), current_stream());
}

kernels::LossScale LossScaler::on_device() const { return {scale_.data<float>(), state_.get()}; }

LossScaleStatus LossScaler::status() const {
  const kernels::LossScaleState state = state_.read();
  return {scale_.item(), state.good_steps, state.skipped_steps};
}

void LossScaler::set_status(const LossScaleStatus& status) {
  require(status.valid(), "loss scale: a scale of ", status.scale, " after ", status.good_steps, " good and ",
          status.skipped_steps, " skipped steps; the first must be above 0, the others at least 0");
  kernels::LossScaleState state = state_.read();
  state.overflowed = 0;
  state.good_steps = status.good_steps;
  state.skipped_steps = status.skipped_steps;
  state_.write(state);
  scale_.upload(std::as_bytes(std::span(&status.scale, 1)));
}

}  // namespace espalier
