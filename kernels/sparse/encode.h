// Dense weight <-> sparse formats, on the device. A format whose size depends on the weight is made in two steps: count
// leaves the scanned row offsets, whose last element is the size to allocate; fill writes indices and values. All are
// bound by one or two reads of the dense weight (4 bytes an element). -0.0f counts as zero.
// decode(encode(w)) == w for every weight that the format can hold.
#pragma once
#include "kernels/simt/simt.h"
#include "kernels/sparse/formats.h"

namespace espalier::kernels {

// A dense weight [rows, columns], row-major.
struct WeightShape {
  index_t rows = 0, columns = 0;
  index_t size() const { return rows * columns; }
};

// row_offsets [rows + 1]
void csr_count(const WeightShape& shape, const float* weight, std::int32_t* row_offsets, cudaStream_t stream);
// column_indices and values [row_offsets[rows]]
void csr_fill(const WeightShape& shape, const float* weight, const std::int32_t* row_offsets,
              std::int32_t* column_indices, float* values, cudaStream_t stream);
void csr_decode(const CsrView& view, float* weight, cudaStream_t stream);

struct BlockShape {
  index_t rows = 1, columns = 1;
};

// row_offsets [ceil(rows / block.rows) + 1]
void block_csr_count(const WeightShape& shape, const BlockShape& block, const float* weight, std::int32_t* row_offsets,
                     cudaStream_t stream);
// column_indices [blocks], values [blocks, block.rows, block.columns]; padding is zero
void block_csr_fill(const WeightShape& shape, const BlockShape& block, const float* weight,
                    const std::int32_t* row_offsets, std::int32_t* column_indices, float* values, cudaStream_t stream);
void block_csr_decode(const BlockCsrView& view, float* weight, cudaStream_t stream);

// How many groups of four hold more than two nonzeros: 0 means that the weight obeys 2:4. Writes one number.
void two_four_violations(const WeightShape& shape, const float* weight, std::int32_t* violations, cudaStream_t stream);
// values [rows, TwoFourView::values_per_row()], metadata [rows, words_per_row()]. The weight must obey 2:4.
void two_four_encode(const WeightShape& shape, const float* weight, float* values, std::uint32_t* metadata,
                     cudaStream_t stream);
void two_four_decode(const TwoFourView& view, float* weight, cudaStream_t stream);

}  // namespace espalier::kernels
