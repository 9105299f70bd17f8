// y [batch, rows] = activation(x [batch, columns] * W^T + bias), W compressed 2:4, on ordinary cores.
// batch * rows * columns flops, half the dense product's, with 4.25 bytes per kept weight; the places cost two shifts
// each. It shows what 2:4 is worth without tensor cores (at most about 1.5x) and is the reference for them.
// Mishra et al., Accelerating Sparse Deep Neural Networks, 2021, arXiv 2104.08378.
#pragma once
#include "kernels/sparse/bias_activation.h"
#include "kernels/sparse/formats.h"
#include "kernels/sparse/panels.h"

namespace espalier::kernels {

// panels: panel_shape(batch, weight.columns, team).elements() of scratch.
void two_four_spmm(index_t batch, const TwoFourView& weight, const float* x, const BiasActivation& epilogue, float* y,
                   float* panels, cudaStream_t stream, SparseTeam team = SparseTeam::automatic);

}  // namespace espalier::kernels
