// The gradient of a pruned convolution's weight on its mask alone (a sampled product): dW[f, k] = sum over the batch
// and the outputs p of dy[n, f, p] * x[n, p + k] for kept (f, k), in the order of the weight's CSR; and the sums of dy,
// which are the gradient of the bias. 2 * batch * outputs * kept flops. As in csr_conv2d.h an image part lies in shared
// memory, where a kept weight meets one contiguous run: a team holds the strip of dy of its filter in registers and
// goes through the filter's kept weights, 4 bytes of shared memory a multiply-add; the lanes' sums of 8 weights are
// added up together. A block takes its share of the images one after the other and leaves its part of the gradient;
// the parts are added in ascending order, so no float atomics. Wins over the dense gradient where csr_conv2d() wins
// over the dense product: windows of many channels, of which few weights are kept. Gale et al., Sparse GPU Kernels for
// Deep Learning, SC 2020, section 6, with the offsets of Escoin (Chen 2018).
#pragma once
#include "kernels/sparse/csr_conv2d.h"

namespace espalier::kernels {

// What is kept of the weight: rows by filter, csr_conv2d_offsets() of the same shape and layout.
struct KeptOffsets {
  index_t kept = 0;
  const std::int32_t *row_offsets = nullptr, *offsets = nullptr;
};

// dw [kept], db [filters] or null; scratch of csr_conv2d_weight_scratch() floats. dy is that of the whole map: the
// layout has no pool.
void csr_conv2d_weight(const Conv2dShape& shape, const CsrConv2dLayout& layout, const KeptOffsets& weight,
                       const float* x, const float* dy, float* dw, float* db, float* scratch, cudaStream_t stream,
                       SparseTeam team = SparseTeam::automatic);
index_t csr_conv2d_weight_scratch(const Conv2dShape& shape, const CsrConv2dLayout& layout, index_t kept,
                                  SparseTeam team = SparseTeam::automatic);

}  // namespace espalier::kernels
