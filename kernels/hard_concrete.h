// L0 regularisation by hard-concrete gates: weights are multiplied by random gates in [0, 1] that are exactly 0 or 1
// with a probability that is learned, so that the expected number of weights whose gate is not 0, the L0 norm, has a
// gradient. A gate is a binary concrete variable stretched to (low, high) and clipped. Weights w [batch, channels,
// area] share the gate of their channel: [1, count, 1] gives each weight its own, the rows of a matrix (neurons,
// filters) are [1, rows, columns], the input channels of filters [filters, channels, kernel]. Memory bound: 12 bytes
// per gate, 8 to 20 per weight. A group's sum has a fixed order. Louizos, Welling and Kingma 2018, arXiv 1712.01312:
// equations 10 and 11 (the gate), 12 (the penalty), 13 (testing).
#pragma once
#include <cstdint>

#include "kernels/shapes.h"
#include "kernels/simt/simt.h"

namespace espalier::kernels {

struct HardConcrete {
  float temperature = 2.0f / 3.0f;  // above 0; the smaller, the more a gate is 0 or 1
  float low = -0.1f, high = 1.1f;   // below 0 and above 1
};

// gate = clip(low + (high - low) sigmoid((log(u / (1 - u)) + log_alpha) / temperature)), u uniform in (0, 1) of the
// words that random.h gives to each gate in {seed, *step}; slope = d gate / d log_alpha, 0 where it was clipped.
void draw_gates(index_t gates, const HardConcrete& shape, std::uint64_t seed, const std::int64_t* step,
                const float* log_alpha, float* gate, float* slope, cudaStream_t stream);

// The gate without noise, for testing: clip(low + (high - low) sigmoid(log_alpha)).
void expected_gates(index_t gates, const HardConcrete& shape, const float* log_alpha, float* gate, cudaStream_t stream);

// gated = gate * weight; where the gate is 0, exactly +0. gated may be weight.
void gate_weights(const PlanesShape& shape, const float* gate, const float* weight, float* gated, cudaStream_t stream);

struct GateGradients {
  float *weight = nullptr, *log_alpha = nullptr;
};

// Of weights and log_alpha, for a loss whose gradient by the gated weights is `gated`, with the penalty *strength
// * (the expected number of weights whose gate is not 0) beside it. The strength is on the device.
void gate_gradients(const PlanesShape& shape, const HardConcrete& gates, const float* gate, const float* slope,
                    const float* log_alpha, const float* weight, const float* gated, const float* strength,
                    const GateGradients& gradients, cudaStream_t stream);

}  // namespace espalier::kernels
