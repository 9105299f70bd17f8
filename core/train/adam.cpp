#include "core/train/adam.h"

#include "core/device/stream.h"
#include "kernels/require.h"
#include "kernels/simt/range.h"

namespace espalier {
namespace {

kernels::AdamState initial_state(const AdamOptions& options, kernels::WeightDecay decay) {
  const auto is_beta = [](double beta) { return beta >= 0 && beta < 1; };
  require(is_beta(options.beta1) && is_beta(options.beta2), "adam: betas ", options.beta1, " and ", options.beta2,
          "; both must be in [0, 1)");
  require(options.epsilon > 0 && options.weight_decay >= 0, "adam: epsilon ", options.epsilon, ", weight decay ",
          options.weight_decay, "; the first must be above 0, the second at least 0");
  kernels::AdamState state;
  state.learning_rate = options.learning_rate;
  state.epsilon = options.epsilon;
  state.weight_decay = options.weight_decay;
  state.beta1 = options.beta1;
  state.beta2 = options.beta2;
  state.decay = decay;
  return state;
}

}  // namespace

Adam::Adam(std::vector<Parameter*> parameters, const AdamOptions& options)
    : Adam(std::move(parameters), options, kernels::WeightDecay::l2) {}

Adam::Adam(std::vector<Parameter*> parameters, const AdamOptions& options, kernels::WeightDecay decay)
    : DeviceOptimizer(std::move(parameters), initial_state(options, decay)),
      first_moments_(zeros_for_each("first_moment")),
      second_moments_(zeros_for_each("second_moment")) {}

void Adam::step() {
  const simt::Range range("update", kind(), "update");
  std::vector<kernels::AdamTensor> tensors;
  for (std::size_t i = 0; i < parameters().size(); ++i) {
    const Tensor &first = first_moments_[i].value, &second = second_moments_[i].value;
    const auto change = change_of(i, {&first, &second});
    if (!change) continue;
    tensors.push_back({.value = parameters()[i]->value.value().data<float>(),
                       .gradient = change->gradient,
                       .first_moment = first.data<float>(),
                       .second_moment = second.data<float>(),
                       .keep = change->keep,
                       .count = change->count,
                       .places = change->places});
  }
  look_for_overflow();
  kernels::adam_update(tensors, device_state(), current_stream());
}

std::vector<Buffer*> Adam::state() {
  std::vector<Buffer*> state;
  for (Buffer& moment : first_moments_) state.push_back(&moment);
  for (Buffer& moment : second_moments_) state.push_back(&moment);
  return state;
}

}  // namespace espalier
