// Plain loops in double: SGD and Adam as torch.optim defines them, then the mask.
#pragma once
#include <cmath>
#include <cstdint>
#include <vector>

#include "kernels/optimizer.h"

namespace espalier::test {

struct OptimizedInDouble {
  std::vector<double> w, first, second;  // weight, momentum or first moment, second moment
  std::vector<std::uint8_t> keep;        // empty: no mask

  OptimizedInDouble(const std::vector<float>& weight, std::vector<std::uint8_t> mask)
      : w(weight.begin(), weight.end()), first(weight.size(), 0.0), second(weight.size(), 0.0), keep(std::move(mask)) {}

  void impose_mask() {
    for (std::size_t i = 0; i < keep.size(); ++i) {
      if (keep[i] == 0) w[i] = first[i] = second[i] = 0.0;
    }
  }

  void sgd_step(const kernels::SgdState& state, const std::vector<float>& gradient) {
    for (std::size_t i = 0; i < w.size(); ++i) {
      const double g = double(state.gradient_scale) * gradient[i] + double(state.weight_decay) * w[i];
      first[i] = double(state.momentum) * first[i] + g;
      w[i] -= double(state.learning_rate) * (state.nesterov != 0 ? g + double(state.momentum) * first[i] : first[i]);
    }
    impose_mask();
  }

  void adam_step(const kernels::AdamState& state, int step, const std::vector<float>& gradient) {
    const bool decoupled = state.decay == kernels::WeightDecay::decoupled;
    const double rate = state.learning_rate, decay = state.weight_decay;
    for (std::size_t i = 0; i < w.size(); ++i) {
      double g = double(state.gradient_scale) * gradient[i];
      if (decoupled)
        w[i] -= rate * decay * w[i];
      else
        g += decay * w[i];
      first[i] = state.beta1 * first[i] + (1 - state.beta1) * g;
      second[i] = state.beta2 * second[i] + (1 - state.beta2) * g * g;
      const double corrected = std::sqrt(second[i] / (1 - std::pow(state.beta2, step)));
      w[i] -= rate * first[i] / (1 - std::pow(state.beta1, step)) / (corrected + double(state.epsilon));
    }
    impose_mask();
  }
};

}  // namespace espalier::test
