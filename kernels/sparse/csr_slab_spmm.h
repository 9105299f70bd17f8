// y [batch, rows] = activation(x [batch, columns] * W^T + bias) on a GPU, W in CSR arranged by slabs (SlabCsrView): a
// pruned dense layer at batches that fill a tile of 64 samples.
// 2 * batch * nonzeros flops. x is brought into panels of 64 samples once (panels.h); slabs of 63 columns, in an order
// of each block's own, pass through a ring in shared memory by asynchronous copies, read from L2 once per block:
// 4 / (density * rows of a block) bytes per multiply-add, 0.25 for 160 rows at 90 % zeros. Each lane sums eight samples
// of a row: per nonzero one permutation of bytes makes the address out of the 8-bit ring row, two 128-bit loads fetch
// eight samples, eight multiply-adds follow. So shared memory, read at 4 bytes per multiply-add, is the limit that this
// kernel meets, as any that goes by rows; 2 to 5 % of the lanes multiply padding at 90 % zeros (slab_csr_columns.cu).
// Wins over gathering from L1 or L2 wherever the batch fills the tile; below that csr_spmm.h is better. Gale et al.,
// Sparse GPU Kernels for Deep Learning, SC 2020 (row swizzle, 1-D tiles); Hong et al., Adaptive Sparse Tiling, PPoPP
// 2019 (slabs); Ma et al., NM-SpMM, 2025 (asynchronous stages).
#pragma once
#include "kernels/sparse/bias_activation.h"
#include "kernels/sparse/formats.h"
#include "kernels/sparse/panels.h"
#include "kernels/sparse/slab_csr.h"

namespace espalier::kernels {

// T is what x is brought into panels as: float, or half or bfloat16, which are read at 2 bytes per multiply-add. Of
// these a tile has 128 samples and a lane sums 16 of a row, in fp32; each is made a float again by one instruction of
// the integer pipe (bf16) or a conversion. W 4096 x 4096 at 90 % zeros, batch 256, bringing x included, modelled from
// counters and SASS: A100 123 us in fp32, 92 in bf16, RTX 4090 81 and 60.

// The panels: workspace of csr_slab_spmm, .elements() of them.
template <class T>
PanelShape csr_slab_panels(index_t batch, index_t columns) {
  return {batch, columns, slab_csr_samples<T>()};
}

// y [batch, rows] of x [batch, columns]. Throws InvalidArgument for sizes that no launch can have, and where blocks of
// the weight have more warps than slab_csr_warps<T>().
template <class T>
void csr_slab_spmm(index_t batch, const SlabCsrView& weight, const float* x, const BiasActivation& epilogue, float* y,
                   T* panels, cudaStream_t stream);

}  // namespace espalier::kernels
