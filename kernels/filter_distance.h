// How far each row of a matrix (a filter, a neuron) lies from all the others: a row near the others can be replaced by
// them. All pairs are visited: rows^2 * columns * 2 flops (three times that for angles) against 4 * rows * columns
// bytes that stay in cache, so it is compute bound, and done once per scoring: 500 filters of 800 weights are 0.4
// Gflop. One team owns a row and runs over the others, so every sum has a fixed order.
// Geometric median: He et al. 2019, arXiv 1811.00250, equation 6.
#pragma once
#include "kernels/row_team.h"
#include "kernels/shapes.h"
#include "kernels/simt/simt.h"

namespace espalier::kernels {

enum class FilterDistance {
  euclidean,  // the sum over j of |w_i - w_j|
  angular,    // the sum over j != i of 1 - |cos(w_i, w_j)|; a row of zeros lies at no distance from any
};

// w [rows, columns] -> distance [rows]
void filter_distances(const MatrixShape& shape, FilterDistance distance, const float* w, float* sum,
                      cudaStream_t stream, RowTeam team = RowTeam::automatic);

}  // namespace espalier::kernels
