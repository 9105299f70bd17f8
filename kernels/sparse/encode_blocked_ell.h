// BlockedEllView from block CSR of square blocks, on the device, and back to a dense weight. Bound by one read and one
// write of the kept blocks. decode(encode(w)) == w, but that -0.0f becomes 0.0f.
#pragma once
#include "kernels/simt/simt.h"
#include "kernels/sparse/formats.h"

namespace espalier::kernels {

// Of every row of blocks: as many as the fullest has. Writes one number.
void blocked_ell_places(const BlockCsrView& blocks, std::int32_t* places, cudaStream_t stream);
// column_indices and values of `layout`, whose sizes it gives. rows and columns are multiples of the block.
void blocked_ell_fill(const BlockCsrView& blocks, const BlockedEllView& layout, std::int32_t* column_indices,
                      float* values, cudaStream_t stream);
void blocked_ell_decode(const BlockedEllView& view, float* weight, cudaStream_t stream);

}  // namespace espalier::kernels
