// SGD and Adam updates that re-impose the pruning mask in the same pass, for a list of tensors in one launch.
// What a schedule changes (learning rate, step count, gradient scale) lives in a small struct in device memory, and the
// last block to finish counts the update there, so a captured graph stays valid and nothing else has to be launched.
// Memory bound: SGD with momentum moves 20 bytes per weight, Adam 28, a mask one bit more (pack_keep() of mask.h makes
// bits of bytes); a separate mask pass would cost another 9 to 13 bytes. Where a weight is pruned, it, momentum and
// both moments become exactly +0.0f whatever the gradient is, NaN included. Gradients are never written.
// Formulae as in torch.optim: Sutskever et al. 2013 (no dampening); Kingma and Ba, arXiv:1412.6980; Loshchilov and
// Hutter, arXiv:1711.05101.
#pragma once
#include <cstdint>
#include <span>

#include "kernels/loss_scale.h"
#include "kernels/shapes.h"
#include "kernels/simt/simt.h"

namespace espalier::kernels {

// Rates that an update takes by its number: rate[step - begin] for begin <= step < end.
struct RateList {
  const float* rate = nullptr;  // in device memory
  std::int64_t begin = 0, end = 0;
};

struct SgdState {               // in device memory
  float learning_rate = 0.01f;  // of updates that `rates` has none for; afterwards that of the last update
  float momentum = 0.0f;
  float weight_decay = 0.0f;
  float gradient_scale = 1.0f;  // multiplies every gradient: clipping
  std::int32_t nesterov = 0;
  std::uint32_t finished_blocks = 0;  // of the running update
  std::int64_t step = 0;              // updates made, without the skipped ones
  RateList rates = {};
  LossScale loss_scale = {};
};

struct SgdTensor {
  float* value = nullptr;
  const float* gradient = nullptr;
  float* momentum = nullptr;            // zeros to begin with; null: plain SGD, whatever the state's momentum
  const std::uint32_t* keep = nullptr;  // bit i % 32 of word i / 32: weight i lives; null: all do
  index_t count = 0;                    // of gradients
  // For training on kept weights alone: gradient i is that of weight places[i], the others stay as they are. No mask.
  const std::int32_t* places = nullptr;
};

// One update of all tensors; it counts as one step unless they are all empty. Where the loss is scaled, gradients are
// divided by the scale too; after find_overflow() found one, nothing changes but the scale and whose rate comes next.
// g = scale * gradient + decay * w; m = momentum * m + g; w -= rate * (nesterov ? g + momentum * m : m)
void sgd_update(std::span<const SgdTensor> tensors, SgdState* state, cudaStream_t stream);

enum class WeightDecay : std::int32_t { l2, decoupled };  // Adam, AdamW

struct AdamState {  // in device memory
  float learning_rate = 1e-3f;
  float epsilon = 1e-8f;
  float weight_decay = 0.0f;
  float gradient_scale = 1.0f;
  double beta1 = 0.9, beta2 = 0.999;  // double: 1 - 0.999f is off by 5e-5
  WeightDecay decay = WeightDecay::l2;
  std::uint32_t finished_blocks = 0;
  std::int64_t step = 0;
  RateList rates = {};
  LossScale loss_scale = {};
  float bias_correction1 = 0.0f;       // 1 - beta1^s of the coming update s = step + 1; 0: not yet known
  float root_bias_correction2 = 0.0f;  // sqrt(1 - beta2^s)
};

struct AdamTensor {
  float* value = nullptr;
  const float* gradient = nullptr;
  float *first_moment = nullptr, *second_moment = nullptr;  // zeros to begin with
  const std::uint32_t* keep = nullptr;                      // bits as above; null: no mask
  index_t count = 0;
  const std::int32_t* places = nullptr;  // as above
};

// m += (1 - beta1) * (g - m); v = beta2 * v + (1 - beta2) * g^2
// w -= rate / bias_correction1 * m / (sqrt(v) / root_bias_correction2 + epsilon)
void adam_update(std::span<const AdamTensor> tensors, AdamState* state, cudaStream_t stream);

}  // namespace espalier::kernels
