// The choice of the highest scores, and counts of what lives, for whoever holds tensors: patterns, regrowth.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "core/train/parameter.h"
#include "kernels/mask.h"

namespace espalier::pruning {

// Exactly `kept` of all given tensors together; enqueues only.
void keep_highest(const std::vector<kernels::ScoredTensor>& tensors, std::int64_t kept);
Mask highest(const Tensor& scores, std::int64_t kept);  // of one tensor

std::vector<std::int64_t> count_kept(const std::vector<kernels::MaskedTensor>& masks);  // waits
std::vector<std::int64_t> count_kept(std::span<const Mask> masks);

// Scores of what the parameter's mask has pruned become -infinity; nothing without a mask.
void bury_pruned(const Parameter& parameter, const Tensor& scores);

}  // namespace espalier::pruning
