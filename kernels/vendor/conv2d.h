// Convolution by the vendor's matrix product: im2col, one product per group, col2im, a few images at a time so that the
// columns stay in a cache. Same contract as kernels/conv2d.h but for the workspace, which holds the columns and is
// needed. Which direction goes which way is measured (apps/benchmark_kernels): on the CPU our panels, which never write
// the columns out, beat im2col + OpenBLAS in every direction, so there `fastest` is theirs; with cuBLAS it is the
// product.
#pragma once
#include "kernels/conv2d.h"

namespace espalier::kernels::vendor {

enum class Conv2dProduct { fastest, blas };
enum class Conv2dDirection { forward, input, weight };

index_t conv2d_workspace_floats(const Conv2dShape& shape, Conv2dDirection direction,
                                Conv2dProduct product = Conv2dProduct::fastest);

void conv2d_forward(const Conv2dShape& shape, const float* x, const float* w, const float* bias, float* y,
                    Activation activation, float leaky_slope, Workspace workspace, cudaStream_t stream,
                    Conv2dProduct product = Conv2dProduct::fastest);

void conv2d_backward_input(const Conv2dShape& shape, const float* dy, const float* w, float* dx, Workspace workspace,
                           cudaStream_t stream, Conv2dProduct product = Conv2dProduct::fastest);

void conv2d_backward_weight(const Conv2dShape& shape, const float* x, const float* dy, float* dw, float* db,
                            Workspace workspace, cudaStream_t stream, Conv2dProduct product = Conv2dProduct::fastest);

}  // namespace espalier::kernels::vendor
