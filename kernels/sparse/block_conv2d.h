// y = activation(conv2d(x, W) + bias), or the largest of each 2 x 2 of that, on tensor cores (compute capability 8.0
// and later; fp16 from 7.5), W sparse in blocks of filters x channels within a tap: an implicit GEMM that skips what is
// zero. Its unit is what an instruction multiplies, 16 filters x 16 channels (of tf32 8), so that masks of blocks of 16
// and 32 fit whole; smaller blocks are filled up with zeros. Operands in fp16, bf16 or tf32, sums in fp32; 2 *
// out_height * out_width * stored weights flops an image. 64 or 128 filters share what they gather: patches of all
// channels of a tap that one of them reads. Any stride, padding and dilation; groups of multiples of 8 channels and 64
// filters. x is rounded into nhwc first, channels padded to eights, in one pass. Wins over the dense convolution from
// about half the blocks on. Gray, Radford and Kingma, GPU Kernels for Block-Sparse Weights, 2017.
#pragma once
#include "kernels/conv2d_arranged.h"
#include "kernels/sparse/bias_activation.h"
#include "kernels/sparse/fragment_blocks.h"
#include "kernels/sparse/patch_tap.h"

namespace espalier::kernels {

// T is half, bfloat16, or float for tf32.

// What W is to the kernel: [filters, kernel height * kernel width * channels padded to whole units].
template <class T>
WeightShape block_conv2d_matrix(const Conv2dShape& shape);
// ... and how many of its rows a tile has for that, of a weight that keeps so much of its fragments: 128 filters share
// what they gather where much is kept and their tiles fill the device, 64 else.
index_t block_conv2d_tile(const Conv2dShape& shape, double kept);
// matrix = weight [filters, channels, kernel height, kernel width] in that order, for fragment_blocks_count().
template <class T>
void block_conv2d_arrange(const Conv2dShape& shape, const float* weight, float* matrix, cudaStream_t stream);

// taps [block_conv2d_taps()]: where the steps of a weight find their patches.
template <class T>
constexpr index_t block_conv2d_taps(const FragmentBlocksView<T>& weight) {
  return (weight.steps + 1) * 4;  // the loop reads one step ahead
}
template <class T>
void block_conv2d_find_taps(const Conv2dShape& shape, const FragmentBlocksView<T>& weight, PatchTap* taps,
                            cudaStream_t stream);

// Elements of T that the rounded images need.
index_t block_conv2d_operand_size(const Conv2dShape& shape);

// Throws InvalidArgument for a shape that the kernel does not take: of smaller groups, of more than 15 taps along an
// axis, or of more elements than 32 bits number.
template <class T>
void require_block_conv2d(const Conv2dShape& shape);

// y [batch, filters, out_height, out_width], or half as high and wide with ConvPool::halves, behind none, relu and
// leaky_relu. weight: block_conv2d_matrix() encoded; operand: block_conv2d_operand_size() of scratch, which only x in
// fp32 needs. Throws InvalidArgument where there are no tensor cores for T, too; csr_conv2d() and vector_nm_conv2d()
// run everywhere.
template <class T>
void block_conv2d(const Conv2dShape& shape, const FragmentBlocksView<T>& weight, const PatchTap* taps,
                  const ConvImages<T>& images, const BiasActivation& epilogue, T* operand, cudaStream_t stream,
                  ConvPool pool = ConvPool::none);

}  // namespace espalier::kernels
