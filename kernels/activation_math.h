// What each activation computes for one number, for activation.cu and for the epilogues of products.
// NaN passes through all of them: a broken run must show, so relu is "x <= 0 ? 0 : x" and not fmaxf (which drops NaN).
// The gradient is taken from what forward leaves behind anyway: from y where y determines it (one tensor less to keep),
// from x for gelu, which is not monotonic.
#pragma once
#include "kernels/activation.h"
#include "kernels/elementary.h"
#include "kernels/simt/simt.h"

namespace espalier::kernels {

constexpr float kSqrtHalf = 0.70710678118654752f;            // 1 / sqrt(2)
constexpr float kGaussianDensityAt0 = 0.39894228040143268f;  // 1 / sqrt(2 pi)

template <Activation kActivation>
__device__ inline float activate(float x, float slope = kDefaultLeakySlope) {
  if constexpr (kActivation == Activation::relu) return x <= 0.0f ? 0.0f : x;
  if constexpr (kActivation == Activation::leaky_relu) return x <= 0.0f ? slope * x : x;
  if constexpr (kActivation == Activation::gelu) return 0.5f * x * (1.0f + error_function(x * kSqrtHalf));
  if constexpr (kActivation == Activation::sigmoid)
    return 1.0f / (1.0f + exponential(-x));  // exp(-x) = inf gives 0: right
  if constexpr (kActivation == Activation::tanh) return hyperbolic_tangent(x);
  return x;
}

// dy times the derivative; `kept` is x or y as gradient_needs_input() tells. At the kink of relu the gradient is 0.
template <Activation kActivation>
__device__ inline float activation_gradient(float dy, float kept, float slope = kDefaultLeakySlope) {
  if constexpr (kActivation == Activation::relu) return kept <= 0.0f ? 0.0f : dy;
  if constexpr (kActivation == Activation::leaky_relu) return kept <= 0.0f ? slope * dy : dy;
  if constexpr (kActivation == Activation::gelu) {
    const float cumulative = 0.5f * (1.0f + error_function(kept * kSqrtHalf));
    return dy * (cumulative + kept * kGaussianDensityAt0 * exponential(-0.5f * kept * kept));
  }
  if constexpr (kActivation == Activation::sigmoid) return dy * (kept * (1.0f - kept));
  if constexpr (kActivation == Activation::tanh) return dy * (1.0f - kept * kept);
  return dy;
}

// The derivative of sigmoid: s (1 - s), without what 1 - s loses where s is nearly 1.
__device__ inline float sigmoid_slope(float x) {
  const float tail = exponential(-fabsf(x)), whole = 1.0f + tail;
  return tail / (whole * whole);
}

// The same chosen at run time, for kernels where the activation is an argument: one uniform branch.
__device__ inline float apply_activation(Activation activation, float x, float slope = kDefaultLeakySlope) {
  switch (activation) {
    case Activation::none:
      return x;
    case Activation::relu:
      return activate<Activation::relu>(x);
    case Activation::leaky_relu:
      return activate<Activation::leaky_relu>(x, slope);
    case Activation::gelu:
      return activate<Activation::gelu>(x);
    case Activation::sigmoid:
      return activate<Activation::sigmoid>(x);
    case Activation::tanh:
      return activate<Activation::tanh>(x);
  }
  return x;
}

}  // namespace espalier::kernels
