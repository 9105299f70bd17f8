// Proximal steps: what follows a gradient step of length `rate` where a penalty that has no gradient at zero is part of
// the loss. prox(v) = argmin_w  penalty(w) + |w - v|^2 / (2 rate), in place. Unlike a subgradient they make true zeros.
// Parikh and Boyd, Proximal Algorithms, 2014: sections 6.5.2 (L1), 6.1.1 (squares), 6.5.4 (groups).
// Memory bound: 8 bytes and about 4 flops per weight, a group norm reads them once more from the cache. A separate
// pass after the update costs 8 of 28 to 36 bytes a step moves; it is paid only by runs that ask for a penalty.
// The rate is read from the device, where the update has left it, so that a captured step stays valid. Zeros stay +0,
// so a mask that has been imposed holds.
#pragma once
#include <cstdint>
#include <span>

#include "kernels/shapes.h"
#include "kernels/simt/simt.h"

namespace espalier::kernels {

struct Penalised {
  float* weight = nullptr;
  index_t count = 0;
};

// strength * |w|: towards zero by rate * strength, and zero within it. NaN stays NaN.
void proximal_l1(std::span<const Penalised> tensors, const float* rate, float strength, cudaStream_t stream);

struct ChosenWeights {
  float* weight = nullptr;
  const std::uint8_t* chosen = nullptr;  // 1: the penalty is for this one; null: for all
  index_t count = 0;
};

// *strength / 2 * w^2: w / (1 + rate * strength). The strength is on the device: it may grow between steps.
void proximal_l2(std::span<const ChosenWeights> tensors, const float* rate, const float* strength, cudaStream_t stream);

struct PulledWeights {
  float* weight = nullptr;
  const float* target = nullptr;
  index_t count = 0;
};

// *strength / 2 * (w - target)^2: towards the target, (w + rate * strength * target) / (1 + rate * strength). 12 bytes
// per weight. The quadratic term of an augmented Lagrangian: Boyd et al. 2011, section 3.1.1.
void proximal_pull(std::span<const PulledWeights> tensors, const float* rate, const float* strength,
                   cudaStream_t stream);

// The other half of a round of ADMM, with z the projection of v = w + dual onto what `keep` allows, v or +0: dual =
// v - z, and the next target of w, z - dual. In place of v; reads 5 bytes per weight and writes 8.
void split_projection(index_t count, const std::uint8_t* keep, float* v_then_dual, float* target, cudaStream_t stream);

// strength * sqrt(n) * |w_g| for each group of n weights: scaled down by max(0, 1 - rate * strength * sqrt(n) / |w_g|),
// so that whole groups become zero. Group g of w [batch, channels, area] is all that has channel g: the rows of a
// matrix are [1, rows, columns], the input channels of filters [filters, channels, kernel].
void proximal_group_lasso(const PlanesShape& shape, const float* rate, float strength, float* weight,
                          cudaStream_t stream);

}  // namespace espalier::kernels
