// 2-D convolution and its gradients, NCHW, with stride, padding, dilation and groups (depthwise included). Each is a
// matrix product whose patch operand is gathered on the way into the cache, never written out: no buffer of
// kernel_height * kernel_width times the input, which im2col would write and read again.
//   forward          y  [filters, batch * pixels]  = w [filters, patch] * patches [patch, batch * pixels]
//   input gradient   dx [channels, batch * inputs] = w' [channels, filters * taps] * dy, gathered
//   weight gradient  dw [filters, patch]           = dy [filters, batch * pixels] * patches', k split over blocks
// flops() and the ideal bytes() are those of Conv2dShape, the same for all three. All are deterministic: fixed order of
// summation, no atomics.
//
// Conv2dMethod::tiles works block by block as gemm_tile.h does (conv2d_tiles.h); stencil keeps images in shared memory
// and a strip of outputs in registers (conv2d_stencil.h: 3x3 and 5x5, stride and dilation 1, and some of stride 2);
// winograd multiplies a quarter as often (conv2d_winograd.h: 3x3, stride and dilation 1; its weight gradient is that of
// fastest); direct has a thread for each result (conv2d_direct.h); panels is the CPU's way, one thread to a block
// (conv2d_panels.h).
// `fastest` is panels on the CPU; on a GPU direct where groups are at most four channels and filters wide (depthwise),
// winograd for many channels and filters, else stencil where it pays, else tiles.
#pragma once
#include <cstddef>

#include "kernels/activation.h"
#include "kernels/shapes.h"
#include "kernels/simt/simt.h"

namespace espalier::kernels {

enum class Conv2dMethod { fastest, tiles, direct, panels, stencil, winograd };

// Throws InvalidArgument, led by `caller`, unless every size is positive, groups divide channels and filters, and the
// dilated kernel fits into the padded image.
void require_valid(const Conv2dShape& shape, const char* caller);

// y = activation(x * w + bias); bias [filters] may be null. By tiles and stencil, gelu, sigmoid and tanh are a second
// pass over y, since the product has no registers left for them; all else costs nothing. Without a workspace of
// conv2d_forward_workspace() floats, `fastest` does without winograd; the same holds for the input gradient. Forward by
// tiles shares long sums of few outputs among blocks where it has them.
void conv2d_forward(const Conv2dShape& shape, const float* x, const float* w, const float* bias, float* y,
                    Activation activation, cudaStream_t stream, Conv2dMethod method = Conv2dMethod::fastest,
                    float leaky_slope = kDefaultLeakySlope, Workspace workspace = {});
index_t conv2d_forward_workspace(const Conv2dShape& shape, Conv2dMethod method = Conv2dMethod::fastest);

void conv2d_backward_input(const Conv2dShape& shape, const float* dy, const float* w, float* dx, cudaStream_t stream,
                           Conv2dMethod method = Conv2dMethod::fastest, Workspace workspace = {});
index_t conv2d_backward_input_workspace(const Conv2dShape& shape, Conv2dMethod method = Conv2dMethod::fastest);

// dw and, unless null, db [filters] in the same pass. conv2d_backward_weight_workspace() floats let it split as it
// likes; with fewer it splits less.
void conv2d_backward_weight(const Conv2dShape& shape, const float* x, const float* dy, float* dw, float* db,
                            Workspace workspace, cudaStream_t stream, Conv2dMethod method = Conv2dMethod::fastest);
index_t conv2d_backward_weight_workspace(const Conv2dShape& shape, Conv2dMethod method = Conv2dMethod::fastest);

// Both gradients, but for winograd one launch less: the same bits as conv2d_backward_weight() and
// conv2d_backward_input() give with their workspaces.
void conv2d_backward(const Conv2dShape& shape, const float* x, const float* dy, const float* w, float* dx, float* dw,
                     float* db, Workspace workspace, cudaStream_t stream, Conv2dMethod method = Conv2dMethod::fastest);
index_t conv2d_backward_workspace(const Conv2dShape& shape, Conv2dMethod method = Conv2dMethod::fastest);

// db [filters] = dy summed over batch and pixels, where the weight needs no gradient: reduce_planes().
void conv2d_backward_bias(const Conv2dShape& shape, const float* dy, float* db, void* workspace, cudaStream_t stream);
std::size_t conv2d_backward_bias_workspace_bytes(const Conv2dShape& shape);

}  // namespace espalier::kernels
