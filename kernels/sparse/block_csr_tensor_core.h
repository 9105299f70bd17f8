// y [batch, rows] = activation(x [batch, columns] * W^T + bias), W in square blocks of 8, 16 or 32, on tensor cores
// (compute capability 8.0 and later; fp16 from 7.5): operands in fp16, bf16 or tf32, sums in fp32.
// 2 * batch * stored values flops at the rate of tensor cores; of x a row of blocks reads the columns that it keeps, 16
// bytes at a time. Wins over dense tensor cores where two thirds of the blocks are empty or more, and the larger the
// blocks the earlier. Gray, Radford and Kingma, GPU Kernels for Block-Sparse Weights, 2017.
#pragma once
#include "kernels/precision.h"
#include "kernels/sparse/bias_activation.h"
#include "kernels/sparse/encode.h"

namespace espalier::kernels {

constexpr bool is_tensor_block(index_t rows, index_t columns) {
  return rows == columns && (rows == 8 || rows == 16 || rows == 32);
}

// From block CSR, in two steps as in encode.h: step_offsets [groups + 1], whose last element is the number of steps;
// then chunk_columns and values, rounded, by way of the view that holds them. T is half, bfloat16, or float for tf32.
template <class T>
void block_tensor_steps(const BlockCsrView& blocks, std::int32_t* step_offsets, cudaStream_t stream);
template <class T>
void block_tensor_fill(const BlockCsrView& blocks, const BlockTensorView<T>& layout, std::int32_t* chunk_columns,
                       T* values, cudaStream_t stream);
template <class T>
void block_tensor_decode(const BlockTensorView<T>& view, float* weight, cudaStream_t stream);

// Elements of the scratch memory `operand` of the product.
template <class T>
index_t block_operand_size(index_t batch, const BlockTensorView<T>& weight) {
  return (batch + 63) / 64 * 64 * weight.padded_columns();
}

// Throws InvalidArgument where there are no tensor cores for T; block_csr_spmm() runs everywhere.
template <class T>
void block_csr_tensor_core(index_t batch, const BlockTensorView<T>& weight, const float* x,
                           const BiasActivation& epilogue, float* y, T* operand, cudaStream_t stream);

}  // namespace espalier::kernels
