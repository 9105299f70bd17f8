// y = activation(conv2d(x, W) + bias) with W [filters, patch] in vectors of 4, 8, 16 or 32 filters that share their
// column indices (VectorNmView): an implicit GEMM over the kept columns, whose input is gathered through offsets that
// are computed once; no patch matrix. What csr_conv2d.h says of tiles, strips, padding, stride, dilation and groups
// holds here: a kept column multiplies one contiguous run of an image part in shared memory.
// 2 * stored values * out_height * out_width flops per image. A run, once in registers, serves eight filters (of
// vectors of 4: four): half a byte of shared memory to a multiply-add, where row-wise CSR reads 4. Weights stored as
// blocks of so many rows are such vectors, too, a column of a block each. Ma et al., NM-SpMM, 2025, arXiv 2503.01253
// (shared indices); Chen, Escoin, 2018 (strips).
#pragma once
#include "kernels/sparse/csr_conv2d.h"

namespace espalier::kernels {

// Of a CPU's strip: eight filters by two vectors of sums stay in registers.
inline constexpr index_t kVectorThreadRegisters = 2;

CsrConv2dLayout vector_nm_conv2d_layout(const Conv2dShape& shape, SparseTeam team = SparseTeam::automatic,
                                        ConvPool pool = ConvPool::none);

// Whether the groups of a convolution, too, end with a vector.
constexpr bool vectors_fit(const Conv2dShape& shape, index_t height) {
  return shape.groups == 1 || shape.filters_per_group() % height == 0;
}

// `weight` with csr_conv2d_offsets() of the same layout in place of its column indices.
void vector_nm_conv2d(const Conv2dShape& shape, const CsrConv2dLayout& layout, const VectorNmView& weight_by_offset,
                      const float* x, const BiasActivation& epilogue, float* y, cudaStream_t stream,
                      SparseTeam team = SparseTeam::automatic);

}  // namespace espalier::kernels
