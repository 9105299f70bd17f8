// The convolutions of conv2d.h on tensor cores: operands in tf32 (floats that round_to_tf32() has rounded), fp16 or
// bf16; sums and results in fp32. T is float, half or bfloat16. Implicit GEMM: the patches are gathered into swizzled
// shared tiles as they are multiplied, there is no im2col buffer. Flops and bytes are those of Conv2dShape, with 2
// bytes an operand for the 16-bit formats. Deterministic: fixed order of summation, no atomics.
//
// nhwc is the layout of tensor cores: eight neighbours of 16 bits (four of tf32) along the channels are one copy. It
// wants channels and filters per group to be multiples of that; other sizes are right and slower. With nchw the
// operands are copied into nhwc, channels padded, which is what the workspace is for.
#pragma once
#include "kernels/conv2d.h"
#include "kernels/gemm_tensor_core.h"
#include "kernels/precision.h"

namespace espalier::kernels {

enum class Conv2dLayout {
  nchw,  // x [n, c, h, w], weights [filters, c / groups, kernel h, kernel w], y [n, filters, out h, out w]
  nhwc,  // x [n, h, w, c], weights [filters, kernel h, kernel w, c / groups], y [n, out h, out w, filters]
};
enum class Conv2dDirection { forward, backward_input, backward_weight, backward };  // backward: both gradients

// The workspace that each direction must have: unlike other launchers these have no way without it.
index_t conv2d_tensor_core_workspace(const Conv2dShape& shape, Conv2dLayout layout, Conv2dDirection direction,
                                     Precision precision, TensorCoreMethod method = TensorCoreMethod::fastest);

// y = activation(x * w + bias); bias [filters] may be null.
template <class T>
void conv2d_forward_tensor_core(const Conv2dShape& shape, Conv2dLayout layout, const T* x, const T* w,
                                const float* bias, float* y, Activation activation, Workspace workspace,
                                cudaStream_t stream, TensorCoreMethod method = TensorCoreMethod::fastest,
                                float leaky_slope = kDefaultLeakySlope);

template <class T>
void conv2d_backward_input_tensor_core(const Conv2dShape& shape, Conv2dLayout layout, const T* dy, const T* w,
                                       float* dx, Workspace workspace, cudaStream_t stream,
                                       TensorCoreMethod method = TensorCoreMethod::fastest);

// dw and, unless null, db [filters].
template <class T>
void conv2d_backward_weight_tensor_core(const Conv2dShape& shape, Conv2dLayout layout, const T* x, const T* dy,
                                        float* dw, float* db, Workspace workspace, cudaStream_t stream,
                                        TensorCoreMethod method = TensorCoreMethod::fastest);

// Both gradients, the same bits, with dy copied into nhwc once.
template <class T>
void conv2d_backward_tensor_core(const Conv2dShape& shape, Conv2dLayout layout, const T* x, const T* dy, const T* w,
                                 float* dx, float* dw, float* db, Workspace workspace, cudaStream_t stream,
                                 TensorCoreMethod method = TensorCoreMethod::fastest);

}  // namespace espalier::kernels
