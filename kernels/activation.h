// The activations that products can fuse into their epilogue, and their launchers for when they stand alone.
// Memory bound: forward moves 8 bytes per element (1 to ~25 flops), backward 12. Stand-alone they win only where no
// product precedes them. In place is allowed: y may be x, dx may be dy or `kept`.
#pragma once
#include "kernels/shapes.h"
#include "kernels/simt/simt.h"

namespace espalier::kernels {

enum class Activation { none, relu, leaky_relu, gelu, sigmoid, tanh };
// A line on either side of zero.
constexpr bool is_straight(Activation activation) {
  return activation == Activation::none || activation == Activation::relu || activation == Activation::leaky_relu;
}

// The slope below zero of a leaky relu whose user gave none.
constexpr float kDefaultLeakySlope = 0.01f;

// True where backward needs the input x; false where it needs the output y.
constexpr bool gradient_needs_input(Activation activation) { return activation == Activation::gelu; }

// y = activation(x); gelu is the exact form x * Phi(x) (Hendrycks and Gimpel 2016). NaN passes through all of them.
// `slope` is leaky_relu's; it must be >= 0, for backward recovers the sign of x from y.
void activation_forward(index_t count, Activation activation, float slope, const float* x, float* y,
                        cudaStream_t stream);

// dx = dy * derivative, where `kept` is x or y as gradient_needs_input() tells. The slope of relu at 0 is 0.
void activation_backward(index_t count, Activation activation, float slope, const float* kept, const float* dy,
                         float* dx, cudaStream_t stream);

}  // namespace espalier::kernels
