// y [batch, rows] = activation(x [batch, columns] * W^T + bias) on sparse tensor cores (compute capability 8.0 and
// later), W in V:N:M: groups of `height` rows keep four of each `window` columns, and of those each row two. Operands
// in fp16, bf16 or tf32, sums in fp32. batch * rows * columns * 4 / window flops at twice the rate of the dense
// product; x is turned around once (one read, one write), so that a kept column's samples lie side by side, and every
// group gathers its columns in whole 16-byte chunks. Wins over 2:4 from windows of 8 on. Castro, Ivanov, Andrade,
// Ben-Nun, Fraguela and Hoefler, VENOM: A Vectorized N:M Format for Unleashing the Power of Sparse Tensor Cores, SC
// 2023, arXiv 2310.02065.
#pragma once
#include "kernels/precision.h"
#include "kernels/sparse/bias_activation.h"
#include "kernels/sparse/encode.h"

namespace espalier::kernels {

// T is half, bfloat16, or float for tf32.

constexpr bool is_vnm_height(index_t height) { return height > 0 && height % 64 == 0; }

// What holds a weight in this format; fill it in, then encode.
template <class T>
VnmTensorView<T> vnm_layout(const WeightShape& shape, index_t height, index_t window) {
  VnmTensorView<T> made{shape.rows, shape.columns, height, window};
  made.kept.rows = shape.rows, made.kept.columns = made.kept_columns();
  return made;
}

struct VnmViolations {
  std::int32_t windows = 0;  // in which a group of rows uses more than four columns
  std::int32_t groups = 0;   // of kept columns with more nonzeros in a row than 2:4 (tf32: 1:2) has
};

// Into the arrays that `layout` names the sizes of: column_indices, values and metadata, weights rounded. `scratch`
// [rows, kept_columns()] takes the kept columns. Where `violations` are not 0, weights are lost.
template <class T>
void vnm_tensor_encode(const VnmTensorView<T>& layout, const float* weight, float* scratch,
                       std::int32_t* column_indices, T* values, std::uint32_t* metadata, VnmViolations* violations,
                       cudaStream_t stream);
// scratch [rows, kept_columns()]
template <class T>
void vnm_tensor_decode(const VnmTensorView<T>& view, float* scratch, float* weight, cudaStream_t stream);

// Elements of the scratch memory `operand` of the product.
template <class T>
index_t vnm_operand_size(index_t batch, const VnmTensorView<T>& weight) {
  return weight.columns * ((batch + 127) / 128 * 128);
}

// Throws InvalidArgument where there are no sparse tensor cores.
template <class T>
void vnm_tensor_core(index_t batch, const VnmTensorView<T>& weight, const float* x, const BiasActivation& epilogue,
                     float* y, T* operand, cudaStream_t stream);

}  // namespace espalier::kernels
