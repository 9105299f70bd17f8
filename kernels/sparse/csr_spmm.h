// y [batch, rows] = activation(x [batch, columns] * W^T + bias), W sparse in CSR: a pruned dense layer.
// 2 * batch * nonzeros flops; x is brought into panels once (panels.h), then each nonzero is one broadcast times a run
// of samples. On a GPU a slab of the panel sits in shared memory, shared by 64 rows of W; on a CPU the panel stays in
// the L2 cache. Wins over the dense product from about 75 % sparsity; below a batch of about four, where there is no
// run, each row gathers instead (bound by reading W: 8 bytes per nonzero against 4 per weight of the dense product).
// Gale et al., Sparse GPU Kernels for Deep Learning, SC 2020 (1-D tiles); Hong et al., Adaptive Sparse Tiling, PPoPP
// 2019.
#pragma once
#include "kernels/sparse/bias_activation.h"
#include "kernels/sparse/formats.h"
#include "kernels/sparse/panels.h"

namespace espalier::kernels {

// Floats of workspace that help; 0 where the gathering kernel is the better one anyway.
index_t csr_spmm_workspace(index_t batch, const CsrView& weight, SparseTeam team = SparseTeam::automatic);

// A workspace smaller than that means gathering.
void csr_spmm(index_t batch, const CsrView& weight, const float* x, const BiasActivation& epilogue, float* y,
              Workspace workspace, cudaStream_t stream, SparseTeam team = SparseTeam::automatic);

// The same for an x that is in panels already, at any batch.
void csr_spmm_of_panels(index_t batch, const CsrView& weight, const float* x_panels, const BiasActivation& epilogue,
                        float* y, cudaStream_t stream, SparseTeam team = SparseTeam::automatic);

}  // namespace espalier::kernels
