// y [batch, rows] = activation(x [batch, columns] * W^T + bias) on a GPU, W in CSR arranged for a resident panel
// (ResidentCsrView): a pruned dense layer at batches of about 5 to 64, a small one at any. 2 * batch * nonzeros flops.
// A block transposes a chunk of x, 8, 16 or 32 samples of it, into shared memory once and then streams rows of W past
// it without another barrier: 6 bytes per nonzero and tile of samples, two 128-bit shared reads for eight multiply-adds
// (4 bytes each, the limit of products that go by rows), without bank conflicts in tiles of 32 samples, with few in
// shorter ones, where the arrangement deals a row's nonzeros out by banks. Where x does not fit, chunks make partial
// sums [chunks, rows, batch] that a second launch adds in ascending order; where few rows leave a block with few warps,
// up to four share a row's nonzeros. Wins over slabs (csr_slab_spmm.h) as long as a tile of 64 samples would stay half
// empty, or all columns of x fit: 800 -> 500 at 90 %, modelled A100 from counters, takes 4.1 us at batch 128 (slabs
// 7.0) and 58 at 4096 (slabs 66). Gale et al., Sparse GPU Kernels for Deep Learning, SC 2020 (sub-warps, row sorting);
// Xia et al., Flash-LLM, VLDB 2023 (small batches; the dense operand in shared memory).
#pragma once
#include "kernels/sparse/bias_activation.h"
#include "kernels/sparse/formats.h"

namespace espalier::kernels {

// Floats of scratch memory for the partial sums; 0 where there is one chunk.
index_t csr_resident_scratch(index_t batch, const ResidentCsrView& weight);

// y [batch, rows] of x [batch, columns], kept in shared memory as T: float, or half or bfloat16 at weight.to_word == 2,
// which is read at 2 bytes per multiply-add and leaves room for twice the samples; sums are fp32. Throws
// InvalidArgument for sizes that no launch can have, and where the weight is arranged for another to_word. Modelled,
// 1024 x 1024 at 90 % zeros, batch 4096: A100 184 us in fp32, 122 in bf16, RTX 4090 96 and 74.
template <class T>
void csr_resident_spmm(index_t batch, const ResidentCsrView& weight, const float* x, const BiasActivation& epilogue,
                       float* y, float* scratch, cudaStream_t stream);

}  // namespace espalier::kernels
