// The gradient of a pruned dense layer's weight on its mask alone (sampled dense-dense product):
// dW[i, j] = sum over the batch of dy[b, i] * x[b, j] for kept (i, j), in the order of the weight's CSR; and, as the
// rows of dy pass by anyway, their sums, which are the gradient of the bias. 2 * batch * kept flops. Both operands come
// as panels (panels.h): forward made those of x, and dx = dy W reads those of dy, too. On a GPU 64 rows share a slab of
// x in shared memory: 4 / (64 * density) bytes from L2 per multiply-add and 4 from shared memory. No float atomics:
// a kept weight is summed by one team, panel after panel. Wins over the dense product where the sparse one does.
// Gale et al., Sparse GPU Kernels for Deep Learning, SC 2020, section 6.
#pragma once
#include "kernels/sparse/formats.h"
#include "kernels/sparse/panels.h"

namespace espalier::kernels {

// dw [kept]; row_sums [rows] or null. The panels are those of panel_shape(batch, rows) and panel_shape(batch, columns).
void csr_sddmm(index_t batch, const KeptView& weight, const float* dy_panels, const float* x_panels, float* dw,
               float* row_sums, cudaStream_t stream, SparseTeam team = SparseTeam::automatic);

}  // namespace espalier::kernels
