// The epilogue of a sparse product: what is done to a sum while it is still in registers.
#pragma once
#include "kernels/activation_math.h"
#include "kernels/shapes.h"

namespace espalier::kernels {

// y = activation(sum + bias[row]); `row` is an output feature or a filter.
struct BiasActivation {
  const float* bias = nullptr;  // null: none
  Activation activation = Activation::none;
  float slope = kDefaultLeakySlope;  // of leaky_relu
};

// The same on a strip of outputs that share one row.
template <class Strip>
__device__ inline void finish(const BiasActivation& epilogue, index_t row, Strip& sum) {
  if (epilogue.bias != nullptr) sum.add(epilogue.bias[row]);
  if (epilogue.activation == Activation::relu) {
    sum.relu();
  } else if (epilogue.activation != Activation::none) {
    sum.map([&](float x) { return apply_activation(epilogue.activation, x, epilogue.slope); });
  }
}

}  // namespace espalier::kernels
