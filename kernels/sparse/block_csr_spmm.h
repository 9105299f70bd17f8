// y [batch, rows] = activation(x [batch, columns] * W^T + bias), W in block CSR.
// 2 * batch * stored values flops. A run of samples, once loaded, serves up to 8 rows of a block, so the product
// escapes the 4 bytes per multiply-add of row-wise CSR: 0.5 bytes with 8 x 8 blocks. Wins where whole blocks are zero;
// a random mask leaves hardly any. Gray, Radford and Kingma, GPU Kernels for Block-Sparse Weights, 2017.
#pragma once
#include "kernels/sparse/bias_activation.h"
#include "kernels/sparse/formats.h"
#include "kernels/sparse/panels.h"

namespace espalier::kernels {

// panels: panel_shape(batch, weight.columns, team).elements() of scratch.
void block_csr_spmm(index_t batch, const BlockCsrView& weight, const float* x, const BiasActivation& epilogue, float* y,
                    float* panels, cudaStream_t stream, SparseTeam team = SparseTeam::automatic);

}  // namespace espalier::kernels
