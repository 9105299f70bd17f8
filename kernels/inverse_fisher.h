// Block-wise inverse of the empirical Fisher information, F = damping I + (1/N) sum of g g^T, over runs of 32
// neighbouring weights, updated gradient by gradient with Sherman and Morrison's formula:
//   F^-1 -= (F^-1 g) (F^-1 g)^T / (N + g^T F^-1 g)
// Removing weight q costs the loss w_q^2 / (2 [F^-1]_qq) once its 31 neighbours make up for it (Hassibi and Stork
// 1992; Singh and Alistarh 2020, arXiv 2004.14340, equation 3). 128 bytes are held per weight; each gradient moves 3 *
// 128 bytes and 192 flops per weight: memory bound, a few dozen gradients per scoring. Runs of 32 are one coalesced
// line; longer ones would cost in proportion, shorter ones forget more of the curvature.
#pragma once
#include "kernels/shapes.h"
#include "kernels/simt/simt.h"

namespace espalier::kernels {

inline constexpr index_t kFisherRun = 32;
constexpr index_t fisher_runs(index_t count) { return (count + kFisherRun - 1) / kFisherRun; }

// inverse [fisher_runs(count), 32, 32] = I / damping
void begin_inverse_fisher(index_t count, float damping, float* inverse, cudaStream_t stream);

// One of `samples` gradients [count]. product [count]: scratch.
void add_to_inverse_fisher(index_t count, index_t samples, const float* gradient, float* product, float* inverse,
                           cudaStream_t stream);

// score [count] = weight^2 / (2 [F^-1]_ii)
void obs_scores(index_t count, const float* weight, const float* inverse, float* score, cudaStream_t stream);

}  // namespace espalier::kernels
