// y [batch, rows] = activation(x [batch, columns] * W^T + bias) on a GPU for batches of about 5 to 64, W in CSR
// arranged for a resident panel (ResidentCsrView): a pruned dense layer at small batches. 2 * batch * nonzeros flops. A
// block transposes a chunk of x, 8, 16 or 32 samples of it, into shared memory once and then streams rows of W past it
// without another barrier: 6 bytes per nonzero and tile of samples, two 128-bit shared reads for eight multiply-adds (4
// bytes each, the limit of products that go by rows), free of bank conflicts since the arrangement deals a row's
// nonzeros out by banks. Where x does not fit, chunks make partial sums [chunks, rows, batch] that a second launch adds
// in ascending order. Wins over slabs (csr_slab_spmm.h) as long as a tile of 64 samples would stay half empty, or few
// rows would leave it with too few warps. Gale et al., Sparse GPU Kernels for Deep Learning, SC 2020 (sub-warps, row
// sorting); Xia et al., Flash-LLM, VLDB 2023 (small batches; the dense operand in shared memory).
#pragma once
#include "kernels/sparse/bias_activation.h"
#include "kernels/sparse/formats.h"

namespace espalier::kernels {

// Floats of scratch memory for the partial sums; 0 where there is one chunk.
index_t csr_resident_scratch(index_t batch, const ResidentCsrView& weight);

// y [batch, rows] of x [batch, columns]. Throws InvalidArgument for sizes that no launch can have.
void csr_resident_spmm(index_t batch, const ResidentCsrView& weight, const float* x, const BiasActivation& epilogue,
                       float* y, float* scratch, cudaStream_t stream);

}  // namespace espalier::kernels
