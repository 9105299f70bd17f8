// Max and average pooling over the last two axes, forward and backward; windows may overlap and reach into padding.
// Memory bound: max forward moves 4 bytes per input and 5 per output element, backward the same the other way.
// Backward gathers: each input element sums over the windows that cover it, in a fixed order, without atomics.
#pragma once
#include <cstdint>

#include "kernels/shapes.h"
#include "kernels/simt/simt.h"

namespace espalier::kernels {

// y = the largest element of each window; argmax = its place in the window, row * window_width + column, so one byte
// does for windows of up to 255 elements. The first of equal elements wins (-0 equals +0, padding never wins). The
// first NaN of a window wins over everything: a broken run shows. argmax may be null when no backward will come.
void max_pool2d_forward(const Pool2dShape& shape, const float* x, float* y, std::uint8_t* argmax, cudaStream_t stream);
void max_pool2d_backward(const Pool2dShape& shape, const std::uint8_t* argmax, const float* dy, float* dx,
                         cudaStream_t stream);

// What the mean of a window that reaches into the padding divides by: the whole window (padding counts as zeros) or
// the elements inside the image.
enum class AverageDivisor { window, inside };

void average_pool2d_forward(const Pool2dShape& shape, AverageDivisor divisor, const float* x, float* y,
                            cudaStream_t stream);
void average_pool2d_backward(const Pool2dShape& shape, AverageDivisor divisor, const float* dy, float* dx,
                             cudaStream_t stream);

}  // namespace espalier::kernels
