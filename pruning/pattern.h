// What falls together: turns scores into masks. A pattern sees all the tensors that share one budget, so the same
// pattern serves local scope (one tensor at a time) and global scope (all of them).
#pragma once
#include <functional>
#include <span>
#include <vector>

#include "core/train/parameter.h"

namespace espalier::pruning {

struct Budget {
  double sparsity = 0.0;     // of all tensors together: round(sparsity * elements) are removed
  double min_density = 0.0;  // each tensor keeps at least this fraction, rounded up, and never less than one weight
};

// Scores, one tensor per weight -> masks of the same shapes.
using Pattern = std::function<std::vector<Mask>(std::span<const Tensor> scores, const Budget& budget)>;

// Any weight may fall: the highest scores over all tensors live, exactly as many as the budget says unless the floors
// alone need more. Ties fall to the earlier position.
Pattern unstructured();

// In each run of m weights of a row (the trailing axes flattened; a shorter run at the end counts too) the n highest
// live, whatever the budget's sparsity; 2 of 4 is what sparse tensor cores take (Mishra et al. 2021, arXiv 2104.08378).
Pattern n_of_m(int n, int m);

}  // namespace espalier::pruning
