// Scores of different layers made comparable before they compete: layers differ in the size of their weights and
// gradients, and raw scores of some criteria would empty whole layers.
#pragma once
#include <cstdint>
#include <string>

#include "core/tensor/tensor.h"

namespace espalier::pruning {

enum class ScoreNormalisation {
  none,
  mean,  // by the mean magnitude of the scores of what lives
  max,   // by the highest magnitude
  lamp,  // s^2 / sum of the squares not smaller (kernels/lamp.h); for scores of at least 0
};

// In place where it can be; `living` of the weights are not pruned. `name` is for messages.
Tensor normalised(const Tensor& scores, ScoreNormalisation normalisation, std::int64_t living, const std::string& name);

}  // namespace espalier::pruning
