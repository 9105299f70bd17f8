// How much each weight matters: scores of the weight's shape, higher = keep. A criterion is any function of a
// Parameter, so a user's own needs no registration. Those below need the weights alone; data_criteria.h has those that
// look at data too. Any of them becomes one over groups with grouped(): Taylor of filters, say.
#pragma once
#include <cstdint>
#include <functional>

#include "core/train/parameter.h"
#include "layers/module.h"
#include "pruning/group.h"

namespace espalier::pruning {

using Criterion = std::function<Tensor(const Parameter&)>;  // f32 scores, shape of the weight

// |w| (Han et al. 2015, arXiv 1506.02626, section 3). One read and one write per weight.
Criterion magnitude();

// Uniform numbers from (seed, name of the parameter), the same at every call, so that masks of rising sparsity nest:
// the control that every other criterion must beat.
Criterion random(std::uint64_t seed);

// Each weight gets the score of its group: the sum, mean or norm (root of the sum of squares) of its members' scores.
using GroupScore = kernels::TileReduction;
Criterion grouped(Criterion of_elements, Grouping groups, GroupScore score);

// Groups by their weights: sum of |w| (Li et al. 2017, arXiv 1608.08710), root of the sum of w^2, and mean of |w|. For
// single weights the three rank alike; they differ where groups differ in size, as between layers: the mean alone does
// not favour large groups.
Criterion l1(Grouping groups);
Criterion l2(Grouping groups);
Criterion mean_magnitude(Grouping groups);

// Each filter (row) by its distance from the others of its layer: one near them can be replaced by them. Geometric
// median (FPGM: He et al. 2019, arXiv 1811.00250), and 1 - |cosine|, which does not see lengths.
Criterion geometric_median();
Criterion filter_dissimilarity();

// |gamma| of the batch norm behind each filter (network slimming: Liu et al. 2017, arXiv 1708.06519), found by running
// the model once on zeros of this shape. Scoring a weight that no batch norm follows throws InvalidArgument; leave such
// weights to `ignore`. The model must outlive the criterion.
Criterion batch_norm_scale(Module& model, const Shape& input);

}  // namespace espalier::pruning
