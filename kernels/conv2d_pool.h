// A convolution block in one pass: y = 2x2 max-pool, stride 2, of activation(x * w + bias), forward and backward. The
// map before the pool never reaches memory in either direction: lenet-5's first block moves 15.4 KB per image instead
// of 199, its second 15.7 instead of 66 (fp32). Backward keeps 2 bits per pooled output, which of its four pixels won;
// the side of the activation follows from the sign of y. Deterministic: fixed order of summation, no atomics.
//
// The pool is Pool2dShape's with window 2, stride 2, no padding: a last odd row or column of the convolution is dropped
// (and never computed). By panels y equals conv2d_forward() and max_pool2d_forward() bit for bit, since max commutes
// with adding a bias and with activations that never fall; by the other methods to rounding, since the sums may take
// their terms in another order. `route` is the first of equal maxima in row-major order, where equal means before the
// bias (adding it may round two sums to one number).
//
// Conv2dMethod::direct keeps its inputs in shared memory and its outputs in registers (stride and dilation 1, kernels
// of 3x3 and 5x5 only); tiles is the implicit GEMM of conv2d_tiles.h for every shape; panels is the CPU's way.
#pragma once
#include <cstddef>
#include <cstdint>

#include "kernels/activation.h"
#include "kernels/conv2d.h"
#include "kernels/shapes.h"
#include "kernels/simt/simt.h"

namespace espalier::kernels {

// The pool that follows the convolution.
constexpr Pool2dShape pool_of(const Conv2dShape& shape) {
  return {.planes = shape.batch * shape.filters, .height = shape.out_height(), .width = shape.out_width()};
}

// Bytes of `route`: planes of 2-bit places (row * 2 + column), four to a byte from its low bits up, each plane of
// out_height / 2 * (out_width / 2) rounded up to whole bytes, all to whole words. A route begins at a multiple of 4
// bytes; other addresses are refused.
std::size_t conv2d_pool_route_bytes(const Conv2dShape& shape);

// y [batch, filters, out_height / 2, out_width / 2]; bias [filters] and route may be null (no gradient wanted). The
// activation is none, relu or leaky_relu (leaky_slope >= 0).
void conv2d_pool_forward(const Conv2dShape& shape, const float* x, const float* w, const float* bias, float* y,
                         std::uint8_t* route, Activation activation, float leaky_slope, cudaStream_t stream,
                         Conv2dMethod method = Conv2dMethod::fastest);

// dw and, unless null, db [filters]; y and route are forward's, dy is y's gradient. The workspace is optional:
// conv2d_pool_backward_weight_workspace() floats let it split as it likes; with fewer it splits less.
void conv2d_pool_backward_weight(const Conv2dShape& shape, const float* x, const float* y, const float* dy,
                                 const std::uint8_t* route, float* dw, float* db, Activation activation,
                                 float leaky_slope, Workspace workspace, cudaStream_t stream,
                                 Conv2dMethod method = Conv2dMethod::fastest);
index_t conv2d_pool_backward_weight_workspace(const Conv2dShape& shape, Conv2dMethod method = Conv2dMethod::fastest);

void conv2d_pool_backward_input(const Conv2dShape& shape, const float* y, const float* dy, const std::uint8_t* route,
                                const float* w, float* dx, Activation activation, float leaky_slope,
                                cudaStream_t stream, Conv2dMethod method = Conv2dMethod::fastest);

// Both gradients, one launch less: the same bits as the two launchers give.
void conv2d_pool_backward(const Conv2dShape& shape, const float* x, const float* y, const float* dy,
                          const std::uint8_t* route, const float* w, float* dx, float* dw, float* db,
                          Activation activation, float leaky_slope, Workspace workspace, cudaStream_t stream,
                          Conv2dMethod method = Conv2dMethod::fastest);

}  // namespace espalier::kernels
