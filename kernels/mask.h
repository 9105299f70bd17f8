// Pruning masks: scores, the choice of the k highest over one or many tensors, counts and fingerprints of masks.
// The choice is an exact radix select on the bits of the scores: three histogram passes (11, 11 and 10 bits) find the
// k-th highest score, a fourth counts its ties per chunk and a fifth writes the mask, so each score is read five times
// and nothing is sorted or moved: 21 bytes per weight against about 64 for a radix sort. Ties are broken by position:
// exactly k survive, and the same k on every run and device. Random scores: fill_uniform() of random.h; imposing a mask
// on a weight: apply_keep() of elementwise.h.
// Alabi et al., Fast K-selection Algorithms for Graphics Processing Units, 2012.
#pragma once
#include <cstdint>
#include <span>

#include "kernels/row_team.h"
#include "kernels/shapes.h"
#include "kernels/simt/simt.h"

namespace espalier::kernels {

void magnitude_scores(index_t count, const float* weight, float* score, cudaStream_t stream);  // |weight|

struct ScoredTensor {
  const float* score = nullptr;
  std::uint8_t* keep = nullptr;  // written: 1 = lives
  index_t count = 0;
};

// Keeps the `kept` highest scores over all tensors together, 0 <= kept <= their elements. Among equal scores the
// earlier tensor, then the lower index wins; -0 equals +0; a NaN ranks above everything, so that a diverged weight
// stays to be seen.
std::size_t keep_highest_workspace_bytes(std::span<const ScoredTensor> tensors);
void keep_highest(std::span<const ScoredTensor> tensors, index_t kept, void* workspace, cudaStream_t stream,
                  RowTeam team = RowTeam::automatic);

struct MaskedTensor {
  const std::uint8_t* keep = nullptr;
  index_t count = 0;
};

// kept [tensors] = how many of each live.
void count_kept(std::span<const MaskedTensor> tensors, std::int64_t* kept, cudaStream_t stream);

// bits [ceil(count / 32)]: bit i % 32 of word i / 32 is 1 where keep[i] is not 0; bits beyond count are 0.
constexpr index_t mask_words(index_t count) { return (count + 31) / 32; }
void pack_keep(index_t count, const std::uint8_t* keep, std::uint32_t* bits, cudaStream_t stream);

// hash [1]: equal for equal masks, different for different ones but for a chance of 2^-64; the same on every device.
void hash_mask(index_t count, const std::uint8_t* keep, std::uint64_t* hash, cudaStream_t stream);

}  // namespace espalier::kernels
