// Dynamic loss scaling, decided on the device. fp16 has no number between 0 and 2^-24, so gradients of a mean loss
// vanish in it; backward() of scale * loss lifts them all by the same power of two, which the update divides out again.
// A gradient that overflows instead makes the update skip the step and the next scale smaller; many good steps in a row
// make it larger. Scale, counter and verdict live in device memory: the host never asks, a captured step stays valid.
// Memory bound: one launch reads 4 bytes of gradient per weight; the update that follows (optimizer.h) judges the step.
// Micikevicius et al. 2018, Mixed Precision Training, arXiv:1710.03740, section 3.2; defaults as in torch.amp.
#pragma once
#include <cstdint>
#include <span>

#include "kernels/shapes.h"
#include "kernels/simt/simt.h"

namespace espalier::kernels {

struct LossScaleState {         // in device memory
  std::int32_t overflowed = 0;  // 1: a gradient of the running step is infinite or no number
  std::int32_t good_steps = 0;  // since the scale last changed
  std::int64_t skipped_steps = 0;
  std::int32_t growth_interval = 2000;  // good steps before the scale grows
  float growth = 2.0f, backoff = 0.5f;
  // Beyond these it is not the range of fp16, 2^-24 to 2^16, that a run suffers from.
  float smallest = 0x1p-24f, largest = 0x1p24f;
};

// What an update judges its step by; both in device memory, both null where no loss is scaled.
struct LossScale {
  float* scale = nullptr;  // [1]; the gradient that backward() starts from
  LossScaleState* state = nullptr;
};

struct GradientTensor {
  const float* gradient = nullptr;
  index_t count = 0;
};

// Sets state->overflowed where any gradient is infinite or no number; leaves it alone otherwise.
void find_overflow(std::span<const GradientTensor> gradients, LossScaleState* state, cudaStream_t stream);

}  // namespace espalier::kernels
