// y [batch, rows] = activation(x [batch, columns] * W^T + bias) on a GPU for a sample or a few, W sparse: a pruned
// dense layer at batch 1. T is float, half or bfloat16; sums are fp32. 2 * nonzeros flops a sample, bound by reading W:
// 6 bytes per nonzero of floats (128-bit loads of values and of 16-bit columns), 4 of 16-bit values, against 4 per
// weight of the dense product. Eight lanes share a row, x waits in shared memory, where 32 random reads take about 3.5
// turns; further samples find W in L2. Gale et al., Sparse GPU Kernels for Deep Learning, SC 2020 (vector loads,
// sub-warps); Bell and Garland, SC 2009.
#pragma once
#include "kernels/simt/half.h"
#include "kernels/sparse/bias_activation.h"
#include "kernels/sparse/formats.h"

namespace espalier::kernels {

template <class T>
void csr_spmv(index_t batch, const PieceCsrView<T>& weight, const float* x, const BiasActivation& epilogue, float* y,
              cudaStream_t stream);

}  // namespace espalier::kernels
