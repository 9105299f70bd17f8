// The epilogue of a sparse product: what is done to a sum while it is still in registers.
#pragma once
#include "kernels/activation.h"
#include "kernels/shapes.h"

namespace espalier::kernels {

// y = activation(sum + bias[row]); `row` is an output feature or a filter.
struct BiasActivation {
  const float* bias = nullptr;  // null: none
  Activation activation = Activation::none;
  float slope = kDefaultLeakySlope;  // of leaky_relu
};

}  // namespace espalier::kernels
