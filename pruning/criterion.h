// How much each weight matters: scores of the weight's shape, higher = keep. A criterion is any function of a
// Parameter, so a user's own needs no registration.
#pragma once
#include <cstdint>
#include <functional>

#include "core/train/parameter.h"

namespace espalier::pruning {

using Criterion = std::function<Tensor(const Parameter&)>;  // f32 scores, shape of the weight

// |w| (Han et al. 2015, arXiv 1506.02626, section 3). One read and one write per weight.
Criterion magnitude();

// Uniform numbers from (seed, name of the parameter), the same at every call, so that masks of rising sparsity nest:
// the control that every other criterion must beat.
Criterion random(std::uint64_t seed);

}  // namespace espalier::pruning
