// CSR -> ResidentCsrView and back, on the device; once per weight. decode(encode(w)) == w.
// Steps as in encode.h: order cuts the rows into chunks and says which row stands where, count leaves the scanned
// offsets of the bundles' groups, whose last element is the size to allocate, fill writes the groups. Sorting compares
// every two rows of a chunk; else about 14 bytes per nonzero, not coalesced.
#pragma once
#include "kernels/simt/simt.h"
#include "kernels/sparse/formats.h"

namespace espalier::kernels {

struct ResidentDevice {
  index_t multiprocessors = 1, shared_bytes = 0;  // that one block may ask for
};

// Sizes without pointers: tiles, chunks, parts and warps that leave the busiest multiprocessor least to do, second
// launch for the sums of several chunks included. Of `csr` only the sizes are read. to_word is the view's.
ResidentCsrView resident_csr_layout(const CsrView& csr, index_t batch, const ResidentDevice& device, int to_word = 1);

// segments [layout.chunks() + 1, rows] is scratch: where each row's part of each chunk begins.
// row_of [layout.chunks(), layout.places()], group_offsets [layout.chunks() * layout.bundles() + 1]
void resident_csr_count(const CsrView& csr, const ResidentCsrView& layout, std::int32_t* segments, std::int32_t* row_of,
                        std::int32_t* group_offsets, cudaStream_t stream);
// values and chunk_columns as ResidentCsrView has them, at multiples of 16 bytes; `view` knows row_of and
// group_offsets.
void resident_csr_fill(const CsrView& csr, const ResidentCsrView& view, const std::int32_t* segments, float* values,
                       std::uint16_t* chunk_columns, cudaStream_t stream);
// weight [rows, columns]
void resident_csr_decode(const ResidentCsrView& view, float* weight, cudaStream_t stream);

}  // namespace espalier::kernels
