// What falls together: turns scores into masks. A pattern sees all the tensors that share one budget, so the same
// pattern serves local scope (one tensor at a time) and global scope (all of them).
#pragma once
#include <functional>
#include <span>
#include <vector>

#include "core/train/parameter.h"
#include "pruning/group.h"

namespace espalier::pruning {

struct Budget {
  double sparsity = 0.0;     // of all tensors together: round(sparsity * elements) are removed
  double min_density = 0.0;  // each tensor keeps at least this fraction, rounded up, and never less than one weight
  double max_density = 1.0;  // ... and at most this fraction, rounded down, but what the floor asks for
};

struct Limits {  // that a budget sets to one tensor of so many weights or groups
  std::int64_t floor, ceiling;
  Limits(std::int64_t count, const Budget& budget);
};

// Scores, one tensor per weight -> masks of the same shapes. A score of -infinity: pruned already.
using Pattern = std::function<std::vector<Mask>(std::span<const Tensor> scores, const Budget& budget)>;

// Any weight may fall: the highest scores over all tensors live, exactly as many as the budget says unless the floors
// alone need more or the ceilings allow less. Ties fall to the earlier position.
Pattern unstructured();

// In each run of m weights of a row (the trailing axes flattened) the n highest live, whatever the budget's sparsity; 2
// of 4 is what sparse tensor cores take (Mishra et al. 2021, arXiv 2104.08378). Rows that m does not divide are
// refused, or end in a shorter run, which keeps up to n as well.
enum class RaggedRows { refused, shorter_run };
Pattern n_of_m(int n, int m, RaggedRows ragged = RaggedRows::refused);

// The same in each run of m channels that a tap of a filter sees: 2 of 4 is what the convolution of sparse tensor cores
// takes (kernels/sparse/two_four_conv2d.h), of tf32 1 of 2. A dense layer's channels are its columns.
Pattern n_of_m_channels(int n, int m, RaggedRows ragged = RaggedRows::refused);

// Whole groups fall, by the mean of their weights' scores, until as near to the budget as whole groups come; each
// tensor keeps one group at least. Floors and ceilings count groups.
Pattern whole(Grouping groups);
inline Pattern filters() { return whole(group::filter()); }
inline Pattern neurons() { return whole(group::neuron()); }
inline Pattern channels() { return whole(group::channel()); }

}  // namespace espalier::pruning
