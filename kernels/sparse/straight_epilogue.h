// The epilogue of products whose threads hold many sums: an activation that is straight on both sides of zero costs two
// instructions a sum; a curved one, whose code would be repeated for every sum, is a pass of its own over y.
#pragma once
#include "kernels/sparse/bias_activation.h"

namespace espalier::kernels {

struct StraightEpilogue {
  const float* bias;
  float slope;  // below zero: 1 leaves the number alone, 0 is relu

  explicit StraightEpilogue(const BiasActivation& epilogue)
      : bias(epilogue.bias),
        slope(epilogue.activation == Activation::relu         ? 0.0f
              : epilogue.activation == Activation::leaky_relu ? epilogue.slope
                                                              : 1.0f) {}

  __device__ float operator()(float sum, index_t row) const {
    if (bias != nullptr) sum += bias[row];
    if (slope == 1.0f || !(sum <= 0.0f)) return sum;  // NaN stays
    return slope == 0.0f ? 0.0f : slope * sum;        // not 0 * -inf
  }
};

// What the kernel left undone on y [count].
inline void finish_curved(const BiasActivation& epilogue, index_t count, float* y, cudaStream_t stream) {
  if (!is_straight(epilogue.activation)) activation_forward(count, epilogue.activation, epilogue.slope, y, y, stream);
}

}  // namespace espalier::kernels
