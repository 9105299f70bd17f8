// SGD and Adam updates that re-impose the pruning mask in the same pass, for a list of tensors in one launch.
// What a schedule changes (learning rate, step count, gradient scale) is read from a small struct in device memory, so
// a captured graph stays valid while it changes. Memory bound: SGD with momentum moves 20 bytes per weight, Adam 28, a
// mask one more; a separate mask pass would cost another 9 to 13. 121,930 masked weights on two Zen 5 cores: 15 us for
// SGD, 30 for Adam. Where keep is 0, weight, momentum and both moments become exactly +0.0f whatever the gradient is,
// NaN included. Gradients are never written.
// Formulae as in torch.optim: Sutskever et al. 2013 (no dampening); Kingma and Ba, arXiv:1412.6980; Loshchilov and
// Hutter, arXiv:1711.05101.
#pragma once
#include <cstdint>
#include <span>

#include "kernels/shapes.h"
#include "kernels/simt/simt.h"

namespace espalier::kernels {

struct SgdState {  // in device memory
  float learning_rate = 0.01f;
  float momentum = 0.0f;
  float weight_decay = 0.0f;
  float gradient_scale = 1.0f;  // multiplies every gradient: loss scaling, clipping
  std::int32_t nesterov = 0;
  std::int64_t step = 0;
};

struct SgdTensor {
  float* value = nullptr;
  const float* gradient = nullptr;
  float* momentum = nullptr;           // zeros to begin with; null: plain SGD, whatever the state's momentum
  const std::uint8_t* keep = nullptr;  // null: no mask
  index_t count = 0;
};

// g = scale * gradient + decay * w; m = momentum * m + g; w -= rate * (nesterov ? g + momentum * m : m)
void sgd_update(std::span<const SgdTensor> tensors, const SgdState* state, cudaStream_t stream);

enum class WeightDecay : std::int32_t { l2, decoupled };  // Adam, AdamW

struct AdamState {  // in device memory
  float learning_rate = 1e-3f;
  float epsilon = 1e-8f;
  float weight_decay = 0.0f;
  float gradient_scale = 1.0f;
  double beta1 = 0.9, beta2 = 0.999;  // double: 1 - 0.999f is off by 5e-5
  WeightDecay decay = WeightDecay::l2;
  std::int64_t step = 0;
  float bias_correction1 = 1.0f;       // 1 - beta1^step; advance_step() keeps both
  float root_bias_correction2 = 1.0f;  // sqrt(1 - beta2^step)
};

struct AdamTensor {
  float* value = nullptr;
  const float* gradient = nullptr;
  float *first_moment = nullptr, *second_moment = nullptr;  // zeros to begin with
  const std::uint8_t* keep = nullptr;                       // null: no mask
  index_t count = 0;
};

// m += (1 - beta1) * (g - m); v = beta2 * v + (1 - beta2) * g^2
// w -= rate / bias_correction1 * m / (sqrt(v) / root_bias_correction2 + epsilon)
void adam_update(std::span<const AdamTensor> tensors, const AdamState* state, cudaStream_t stream);

// Counts a step on the device; once before the updates of each step.
void advance_step(SgdState* state, cudaStream_t stream);
void advance_step(AdamState* state, cudaStream_t stream);

}  // namespace espalier::kernels
