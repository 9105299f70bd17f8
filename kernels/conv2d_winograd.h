// Convolution of 3x3 kernels, stride 1, by Winograd's minimal filtering F(4x4, 3x3): tiles of 4 x 4 outputs out of 6 x
// 6 inputs by 36 multiplications a channel instead of 144, the rest of the work being sums. With C channels, F filters
// and T tiles
//   weights   u [36, C, F] from w        9 floats read, 36 written for each pair of channel and filter
//   source    v [36, C, T] from x        16 floats read (the border's twice), 36 written for each tile and channel
//   product   m [36, F, T] = u' v        72 C F T flops in 36 products of one launch
//   result    y from m                   36 floats read, 16 written for each tile and filter; bias and activation
// Two thirds of the traffic are v and m: the batch goes through in chunks whose v and m stay in the second-level cache.
// The input gradient is the same: filters and channels swapped, the kernels turned by 180 degrees, 2 - padding.
//
// Modelled us, forward, of stencil : winograd (T4 as if it had asynchronous copies; nothing published fits it or H100):
//   channels = filters at map, batch        A100         H100     RTX 4090           T4
//    64 at 56 x 56,  32                487 : 232    230 : 119    172 : 121  1572 : 1198
//    64 at 56 x 56, 128               1870 : 917    865 : 464    645 : 477  6046 : 4780
//   128 at 28 x 28,  32                446 : 195     226 : 92     164 : 85   1864 : 911
//   128 at 28 x 28, 128               1894 : 691    923 : 399    688 : 349  6488 : 3348
//   256 at 14 x 14,  32                510 : 195    228 : 108     166 : 80   2070 : 813
//   256 at 14 x 14, 128               2279 : 756    974 : 416    705 : 308  7067 : 3124
//   512 at  7 x  7,  32                702 : 194    264 : 117    191 : 130   2399 : 883
//   512 at  7 x  7, 128               2541 : 709   1067 : 367    772 : 317  7927 : 2846
//   256 at 14 x 14,   4                 116 : 82      44 : 55      32 : 43    366 : 235
// Emulated, all steps touch 1.00 of the ideal sectors and wavefronts at 56, 28, 14, 13 and 7. Without padding, outer
// columns of odd rows are loads of their own, which share eight banks: the source takes 1.5 of the wavefronts at 13.
// It loses for few images, whose transformed weights cost more than they save, and to the cpu build's panels.
//
// Lavin and Gray, Fast Algorithms for Convolutional Neural Networks (2015, arXiv 1509.09308), section 4.1 (F(2x2)
// there, the matrices for the points 0, 1, -1, 2, -2 in their code). Deterministic: every sum has a fixed order, which
// the chunks leave alone.
#pragma once
#include "kernels/conv2d.h"
#include "kernels/shapes.h"

namespace espalier::kernels {

// Outputs of a tile along an axis, inputs of it, and its elements when transformed.
inline constexpr int kWinogradOutputs = 4, kWinogradInputs = 6, kWinogradPlanes = kWinogradInputs * kWinogradInputs;

enum class WinogradUse { forward, input_gradient };

// One direction of a convolution: `channels` are summed over and `filters` are made.
struct WinogradProblem {
  WinogradUse use = WinogradUse::forward;
  index_t batch = 1, channels = 1, filters = 1;
  int height = 1, width = 1;          // of a plane of the source
  int out_height = 1, out_width = 1;  // of what is computed
  int padding = 0;                    // of the source; negative: cropped

  WinogradProblem(const Conv2dShape& shape, WinogradUse use);
  int down() const { return (out_height + kWinogradOutputs - 1) / kWinogradOutputs; }
  int across() const { return (out_width + kWinogradOutputs - 1) / kWinogradOutputs; }
  index_t tiles() const { return index_t(down()) * across(); }  // of an image
};

// True for 3x3 kernels, stride and dilation 1, one group, rows that shared memory can hold.
bool suits_winograd(const Conv2dShape& shape);

// Whether the method means this algorithm here, the floats it wants (0: it does not), and whether it has them: without
// them `fastest` does without the algorithm too.
bool takes_winograd(const Conv2dShape& shape, WinogradUse use, Conv2dMethod method);
index_t winograd_workspace(const Conv2dShape& shape, WinogradUse use, Conv2dMethod method);
bool runs_winograd(const Conv2dShape& shape, WinogradUse use, Conv2dMethod method, const Workspace& workspace);

// y = bend(x * w + bias), with a slope of 1 no bend; or, without bias, dx = w' * dy.
void conv2d_winograd(const WinogradProblem& problem, const float* x, const float* w, const float* bias, float* y,
                     float slope, Workspace workspace, cudaStream_t stream);

}  // namespace espalier::kernels
