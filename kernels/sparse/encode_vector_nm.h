// VectorNmView from block CSR of height x 1 blocks, on the device, and back to a dense weight. Two steps, as for the
// formats of encode.h: pad leaves offsets whose last element is the number of vectors to allocate, fill copies. Bound
// by one read and one write of the kept weights. decode(encode(w)) == w, but that -0.0f becomes 0.0f.
#pragma once
#include "kernels/simt/simt.h"
#include "kernels/sparse/formats.h"

namespace espalier::kernels {

// group_offsets [blocks.block_grid_rows() + 1]; blocks are height x 1
void vector_nm_pad(const BlockCsrView& blocks, std::int32_t* group_offsets, cudaStream_t stream);
// column_indices [vectors], values [vectors, height], by way of the view that holds them
void vector_nm_fill(const BlockCsrView& blocks, const VectorNmView& layout, std::int32_t* column_indices, float* values,
                    cudaStream_t stream);
void vector_nm_decode(const VectorNmView& view, float* weight, cudaStream_t stream);

}  // namespace espalier::kernels
