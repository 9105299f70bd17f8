// Masks made of masks and scores: what an unbroken rule of pruning and regrowth needs beside the choice of mask.h.
// All are maps, memory bound: 1 to 9 bytes per weight.
#pragma once
#include <cstdint>

#include "kernels/shapes.h"
#include "kernels/simt/simt.h"

namespace espalier::kernels {

// keep = keep and other
void intersect_keep(index_t count, const std::uint8_t* other, std::uint8_t* keep, cudaStream_t stream);

// keep = score >= threshold; a NaN falls.
void keep_at_least(index_t count, float threshold, const float* score, std::uint8_t* keep, cudaStream_t stream);

// score = keep ? +infinity : score, so that what lives ranks above every candidate for regrowth.
void exalt_kept(index_t count, const std::uint8_t* keep, float* score, cudaStream_t stream);

// Weights that live on in the shadow of a mask: where keep, shadow = weight; elsewhere shadow -= rate * gradient.
void follow_in_shadow(index_t count, const std::uint8_t* keep, const float* weight, const float* gradient, float rate,
                      float* shadow, cudaStream_t stream);
// Where `after` lives and `before` did not, weight = shadow.
void step_out_of_shadow(index_t count, const std::uint8_t* before, const std::uint8_t* after, const float* shadow,
                        float* weight, cudaStream_t stream);
// score = |shadow|, times `favour` where keep: what lives falls only once it is clearly beaten.
void splicing_scores(index_t count, const std::uint8_t* keep, float favour, const float* shadow, float* score,
                     cudaStream_t stream);

}  // namespace espalier::kernels
