// y [batch, rows] = activation(x [batch, columns] * W^T + bias), W in vectors of 4, 8, 16 or 32 rows that share their
// column indices (VectorNmView).
// 2 * batch * stored values flops; reads 4 + 4 / height bytes of the weight for each value, and of x 4 / height bytes
// for each multiply-add: a column's samples, once in registers, serve all rows of the vector. So it escapes the 4 bytes
// per multiply-add of row-wise CSR and runs like a dense product of the kept columns, whatever columns those are: wins
// over dense from about 40 % sparsity, at heights from 8. Ma et al., NM-SpMM: Accelerating Matrix Multiplication Using
// N:M Sparsity with GPGPU, 2025, arXiv 2503.01253.
#pragma once
#include "kernels/sparse/bias_activation.h"
#include "kernels/sparse/formats.h"
#include "kernels/sparse/panels.h"

namespace espalier::kernels {

constexpr bool is_vector_height(index_t height) { return height == 4 || height == 8 || height == 16 || height == 32; }

// Of the scratch memory `panels`: floats() of it.
PanelShape vector_nm_panels(index_t batch, const VectorNmView& weight, SparseTeam team = SparseTeam::automatic);

void vector_nm_spmm(index_t batch, const VectorNmView& weight, const float* x, const BiasActivation& epilogue, float* y,
                    float* panels, cudaStream_t stream, SparseTeam team = SparseTeam::automatic);

}  // namespace espalier::kernels
