// y = activation(conv2d(x, W) + bias), or the largest of each 2 x 2 of that, on sparse tensor cores (compute capability
// 8.0 and later): an implicit GEMM of W, compressed 2:4 along the channels of each tap (of tf32: 1:2) as
// TwoFourTensorView, with patches that are gathered from the images as they are multiplied; no patch matrix. Operands
// in fp16, bf16 or tf32, sums in fp32. Any stride, padding and dilation; groups of whole tiles: of multiples of 8
// channels and 64 filters. The shape's flops() at twice the rate of the dense product, for 0.5625 of its bytes of
// weight (16 bit; tf32 0.53). x is rounded into nhwc first, channels padded to eights, in one pass. Wins over the dense
// convolution where filters fill the rows of a tile, 64 or 128, and channels the eights. Mishra et al., Accelerating
// Sparse Deep Neural Networks, 2021, arXiv 2104.08378.
#pragma once
#include "kernels/conv2d_arranged.h"
#include "kernels/sparse/patch_tap.h"
#include "kernels/sparse/two_four_tensor_core.h"

namespace espalier::kernels {

// T is half, bfloat16, or float for tf32.

// What W is to the kernel: [filters, kernel height * kernel width * channels padded to eights].
WeightShape two_four_conv2d_matrix(const Conv2dShape& shape);
// matrix = weight [filters, channels, kernel height, kernel width] in that order, for two_four_tensor_encode().
void two_four_conv2d_arrange(const Conv2dShape& shape, const float* weight, float* matrix, cudaStream_t stream);

// taps [two_four_conv2d_taps()]: a function of the shape alone, whatever the batch.
template <class T>
index_t two_four_conv2d_taps(const Conv2dShape& shape);
template <class T>
void two_four_conv2d_find_taps(const Conv2dShape& shape, PatchTap* taps, cudaStream_t stream);

// Elements of T that the rounded images need.
index_t two_four_conv2d_operand_size(const Conv2dShape& shape);

// Throws InvalidArgument for a shape that the kernel does not take: of smaller groups, of more than 15 taps along an
// axis, or of more elements than 32 bits number.
template <class T>
void require_two_four_conv2d(const Conv2dShape& shape);

// y [batch, filters, out_height, out_width], or half as high and wide with ConvPool::halves, behind none, relu and
// leaky_relu. weight: two_four_conv2d_matrix() encoded; operand: two_four_conv2d_operand_size() of scratch, which only
// x in fp32 needs. Throws InvalidArgument where there are no sparse tensor cores, too; csr_conv2d() runs everywhere.
template <class T>
void two_four_conv2d(const Conv2dShape& shape, const TwoFourTensorView<T>& weight, const PatchTap* taps,
                     const ConvImages<T>& images, const BiasActivation& epilogue, T* operand, cudaStream_t stream,
                     ConvPool pool = ConvPool::none);

}  // namespace espalier::kernels
