// Element-wise parts of pruning scores: sums that a calibration gathers batch by batch, and the products of a weight
// with such a sum that most criteria are. All are maps, memory bound: 12 bytes and two flops per weight, and 8 bytes
// for each sum that is kept. Nothing here waits or allocates.
// Taylor: Molchanov et al. 2019, arXiv 1906.10771; SNIP: Lee et al. 2019, arXiv 1810.02340; GraSP: Wang et al. 2020,
// arXiv 2002.07376; OBD: LeCun et al. 1990; movement: Sanh et al. 2020, arXiv 2005.07683, equation 8.
#pragma once
#include <cstdint>

#include "kernels/shapes.h"
#include "kernels/simt/simt.h"

namespace espalier::kernels {

// Each may be null: then it is not kept.
struct GradientSums {
  float *sum = nullptr, *magnitudes = nullptr, *squares = nullptr;
};

// sum += g, magnitudes += |g|, squares += g^2.
void accumulate_gradient(index_t count, const float* gradient, const GradientSums& sums, cudaStream_t stream);

enum class ScoreForm {
  product,    // factor a b
  magnitude,  // factor |a b|
  square,     // factor a^2 b
};
void pair_scores(index_t count, ScoreForm form, float factor, const float* a, const float* b, float* score,
                 cudaStream_t stream);

// One training step of movement: score -= gradient * before, then before = weight, for the next one. `before` is the
// weight that the gradient was taken at.
void accumulate_movement(index_t count, const float* gradient, const float* weight, float* before, float* score,
                         cudaStream_t stream);

// y = x != 0 ? 1 : 0, so that means of y are fractions of nonzeros. y may be x.
void indicate_nonzero(index_t count, const float* x, float* y, cudaStream_t stream);

}  // namespace espalier::kernels
