// y = activation(conv2d(x, W) + bias) with W [filters, patch] sparse in CSR: direct, nothing is lowered to a matrix.
// 2 * nonzeros * out_height * out_width flops per image. A block copies the part of a zero-padded image that its
// outputs see into shared memory, rows `pitch` apart. Seen flat, output p = row * pitch + column needs input p +
// offset, where the offset depends on the nonzero alone; so a nonzero multiplies one contiguous run, a strip of outputs
// that stays in registers for a whole filter. The last columns of each row are computed and dropped. A stride splits
// the image into stride * stride phases, each of which is again contiguous; dilation is in the offsets. Costs 4 bytes
// of shared memory read per multiply-add; wins over the dense product from about 75 % sparsity. Chen, Escoin: Efficient
// Sparse CNN Inference on GPUs, 2018; Park et al., Faster CNNs with Direct Sparse Convolutions, ICLR 2017, arXiv
// 1608.01409 (offsets in place of column indices).
#pragma once
#include "kernels/sparse/bias_activation.h"
#include "kernels/sparse/formats.h"
#include "kernels/sparse/team.h"

namespace espalier::kernels {

// What becomes of the outputs on their way out. halves: only the largest of each 2 x 2 of them, a last odd row or
// column dropped, is stored.
enum class ConvPool { none, halves };

// How the outputs are tiled and the image lies in shared memory: a function of the shape alone, whatever the batch.
struct CsrConv2dLayout {
  index_t tile_rows = 1, tile_columns = 1;  // outputs of a block
  index_t pitch = 1, plane = 1;             // floats of a row and of a plane [tile_rows + kernel rows - 1, pitch]
  index_t phases_y = 1, phases_x = 1;       // planes per channel
  bool in_goes = false;                     // a group has more channels than shared memory holds at once:
  index_t channels = 1;                     // so many
  index_t strip = 0, strips = 1;            // outputs in registers at once, and how many strips a tile has
  index_t slab_floats = 0;                  // of shared memory
  ConvPool pool = ConvPool::none;
  index_t out_rows = 0, out_columns = 0;  // of an image, that are computed
  index_t staging_floats = 0;             // of shared memory for each team, behind the slab

  constexpr index_t channel() const { return phases_y * phases_x * plane; }
  constexpr index_t positions() const { return (tile_rows - 1) * pitch + tile_columns; }
};
CsrConv2dLayout csr_conv2d_layout(const Conv2dShape& shape, SparseTeam team = SparseTeam::automatic,
                                  ConvPool pool = ConvPool::none);

// offsets [count]: where in shared memory what multiplies a column of the weight [filters, patch] finds its run.
void csr_conv2d_offsets(const Conv2dShape& shape, const CsrConv2dLayout& layout, index_t count,
                        const std::int32_t* column_indices, std::int32_t* offsets, cudaStream_t stream);
inline void csr_conv2d_offsets(const Conv2dShape& shape, const CsrConv2dLayout& layout, const CsrView& weight,
                               std::int32_t* offsets, cudaStream_t stream) {
  csr_conv2d_offsets(shape, layout, weight.nonzeros, weight.column_indices, offsets, stream);
}

// y [batch, filters, out_height, out_width], or half as high and wide with ConvPool::halves, behind the activation.
// `weight` with csr_conv2d_offsets() of the same layout in place of its column indices.
void csr_conv2d(const Conv2dShape& shape, const CsrConv2dLayout& layout, const CsrView& weight_by_offset,
                const float* x, const BiasActivation& epilogue, float* y, cudaStream_t stream,
                SparseTeam team = SparseTeam::automatic);

}  // namespace espalier::kernels
