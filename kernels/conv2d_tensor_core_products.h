// The three directions of conv2d_tensor_core.h by tensor cores, for checked shapes. A scratch without memory counts
// what they need and launches nothing.
#pragma once
#include "kernels/conv2d_tensor_core.h"
#include "kernels/scratch.h"

namespace espalier::kernels::detail {

// `slope` of the activation below zero: 1 leaves numbers alone, 0 is relu.
template <class T>
void forward_on_tensor_cores(const Conv2dShape& s, Conv2dLayout layout, const T* x, const T* w, const float* bias,
                             float* y, float slope, Scratch& scratch, cudaStream_t stream);
template <class T>
void backward_input_on_tensor_cores(const Conv2dShape& s, Conv2dLayout layout, const T* dy, const T* w, float* dx,
                                    Scratch& scratch, cudaStream_t stream);
template <class T>
void backward_weight_on_tensor_cores(const Conv2dShape& s, Conv2dLayout layout, const T* x, const T* dy, float* dw,
                                     float* db, Scratch& scratch, cudaStream_t stream);

}  // namespace espalier::kernels::detail
