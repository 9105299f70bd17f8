// y [batch, rows] = activation(x [batch, columns] * W^T + bias) on sparse tensor cores (compute capability 8.0 and
// later): W compressed 2:4 (of tf32: 1:2) as TwoFourTensorView, operands in fp16, bf16 or tf32, sums in fp32.
// batch * rows * columns flops at twice the rate of the dense product, for 0.5625 of its bytes of weight (16 bit; tf32
// 0.53). Wins over dense tensor cores where both operands are large; the rounding of x costs one pass over it. Mishra
// et al., Accelerating Sparse Deep Neural Networks, 2021, arXiv 2104.08378; layout of fragments: PTX ISA, mma.sp.
#pragma once
#include "kernels/precision.h"
#include "kernels/sparse/bias_activation.h"
#include "kernels/sparse/encode.h"

namespace espalier::kernels {

// T is half, bfloat16, or float for tf32.

// values [values_size()], metadata [metadata_size()] of TwoFourTensorView<T>; weights are rounded. `violations`, one
// number, becomes how many groups hold more nonzeros than are kept: their last ones are lost.
template <class T>
void two_four_tensor_encode(const WeightShape& shape, const float* weight, T* values, std::uint32_t* metadata,
                            std::int32_t* violations, cudaStream_t stream);
template <class T>
void two_four_tensor_decode(const TwoFourTensorView<T>& view, float* weight, cudaStream_t stream);

// Whether the code that was compiled for the current device has mma.sp.
bool has_sparse_tensor_cores();

// operand: [batch, weight.padded_columns()] of scratch, for x in the format of T. Throws InvalidArgument where there
// are no sparse tensor cores; two_four_spmm() runs everywhere.
template <class T>
void two_four_tensor_core(index_t batch, const TwoFourTensorView<T>& weight, const float* x,
                          const BiasActivation& epilogue, float* y, T* operand, cudaStream_t stream);

}  // namespace espalier::kernels
