// The activations that products can fuse into their epilogue and that elementwise.cu applies on their own.
#pragma once

namespace espalier::kernels {

enum class Activation { none, relu, leaky_relu, gelu, sigmoid, tanh };

}  // namespace espalier::kernels
