// Convolution without a tile: one thread sums one element of y or dx, one block one weight's gradient. Every shape
// works; it wins on a GPU where groups are a few channels wide, depthwise above all: the 9 to 25 multiply-adds of an
// output would fill one of a tile's 32 rows. Memory bound then: x and y cross once (the first-level cache serves the
// overlapping taps), the weight gradient reads dy once per tap from the second-level cache.
#pragma once
#include "kernels/conv2d.h"

namespace espalier::kernels {

// Groups so narrow that a tile would be mostly empty.
inline bool suits_direct(const Conv2dShape& shape) {
  constexpr index_t kFew = 4;
  return shape.filters_per_group() <= kFew && shape.channels_per_group() <= kFew;
}

void conv2d_forward_direct(const Conv2dShape& shape, const float* x, const float* w, const float* bias, float* y,
                           Activation activation, float leaky_slope, cudaStream_t stream);
void conv2d_backward_input_direct(const Conv2dShape& shape, const float* dy, const float* w, float* dx,
                                  cudaStream_t stream);
void conv2d_backward_weight_direct(const Conv2dShape& shape, const float* x, const float* dy, float* dw, float* db,
                                   cudaStream_t stream);

}  // namespace espalier::kernels
