#include "core/train/sgd.h"

#include "core/device/stream.h"
#include "kernels/require.h"
#include "kernels/simt/range.h"

namespace espalier {
namespace {

kernels::SgdState initial_state(const SgdOptions& options) {
  require(options.momentum >= 0 && options.momentum < 1, "sgd: momentum ", options.momentum, "; it must be in [0, 1)");
  require(options.weight_decay >= 0, "sgd: weight decay ", options.weight_decay, "; it must be at least 0");
  require(!options.nesterov || options.momentum > 0, "sgd: Nesterov's update needs a momentum above 0");
  kernels::SgdState state;
  state.learning_rate = options.learning_rate;
  state.momentum = options.momentum;
  state.weight_decay = options.weight_decay;
  state.nesterov = options.nesterov;
  return state;
}

}  // namespace

Sgd::Sgd(std::vector<Parameter*> parameters, const SgdOptions& options)
    : DeviceOptimizer(std::move(parameters), initial_state(options)) {
  if (options.momentum > 0) velocities_ = zeros_for_each("velocity");
}

void Sgd::step() {
  const simt::Range range("update", kind(), "update");
  std::vector<kernels::SgdTensor> tensors;
  for (std::size_t i = 0; i < parameters().size(); ++i) {
    const auto change = velocities_.empty() ? change_of(i, {}) : change_of(i, {&velocities_[i].value});
    if (!change) continue;
    kernels::SgdTensor tensor{.value = parameters()[i]->value.value().data<float>(),
                              .gradient = change->gradient,
                              .keep = change->keep,
                              .count = change->count,
                              .places = change->places};
    if (!velocities_.empty()) tensor.momentum = velocities_[i].value.data<float>();
    tensors.push_back(tensor);
  }
  look_for_overflow();
  kernels::sgd_update(tensors, device_state(), current_stream());
}

std::vector<Buffer*> Sgd::state() {
  std::vector<Buffer*> state;
  for (Buffer& velocity : velocities_) state.push_back(&velocity);
  return state;
}

}  // namespace espalier
