// Products of operands in tf32, bf16 or fp16: what Dense and Conv2d call instead of their fp32 kernels. An operand is
// rounded once, where it is born, and kept so for backward: the 16-bit formats halve what a training step saves. Sums
// and results are fp32. Micikevicius et al. 2018, Mixed Precision Training, arXiv:1710.03740.
#pragma once
#include "core/device/precision.h"
#include "core/tensor/tensor.h"
#include "kernels/conv2d.h"
#include "kernels/gemm.h"

namespace espalier {

// x as a product reads it. fp32: x itself; tf32: f32 whose values are tf32; bf16 and fp16: tensors of those types.
Tensor operand(const Tensor& x, Precision precision);

// The launchers of kernels/gemm_tensor_core.h and kernels/conv2d_tensor_core.h for operands of one type, NCHW.
struct GemmOperand {
  const Tensor& matrix;
  kernels::Transpose transpose;
};
void reduced_gemm(const kernels::GemmShape& shape, const GemmOperand& a, const GemmOperand& b, const Tensor& c,
                  const kernels::GemmEpilogue& epilogue);

void reduced_conv2d_forward(const kernels::Conv2dShape& shape, const Tensor& x, const Tensor& weight, const float* bias,
                            const Tensor& y, kernels::Activation activation, float slope);
void reduced_conv2d_backward_input(const kernels::Conv2dShape& shape, const Tensor& dy, const Tensor& weight,
                                   const Tensor& dx);
// db, unless null, is written too: the sum of the rounded dy, as the weight's gradient reads it.
void reduced_conv2d_backward_weight(const kernels::Conv2dShape& shape, const Tensor& x, const Tensor& dy,
                                    const Tensor& dw, float* db);
// Both, which turn dy into the layout of tensor cores once.
void reduced_conv2d_backward(const kernels::Conv2dShape& shape, const Tensor& x, const Tensor& dy, const Tensor& weight,
                             const Tensor& dx, const Tensor& dw, float* db);

}  // namespace espalier
