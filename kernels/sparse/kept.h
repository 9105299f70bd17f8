// The kept places of a weight in training (KeptView), made of its mask on the device, and the values that stand there.
// Made once for each mask, in two steps like the formats of encode.h; after that a step of training only gathers: 8
// or 12 bytes read and 4 or 8 written for each kept weight, beside 2 * batch flops for it in each product.
#pragma once
#include "kernels/simt/simt.h"
#include "kernels/sparse/encode.h"

namespace espalier::kernels {

// row_offsets [rows + 1] of W, whose last element is how many live; keep [rows, columns], not 0 = lives.
void kept_count(const WeightShape& shape, const std::uint8_t* keep, std::int32_t* row_offsets, cudaStream_t stream);
// What KeptView holds beside row_offsets and the number kept.
struct KeptArrays {
  std::int32_t *column_indices, *places, *column_offsets, *row_indices, *transposed;
};
void kept_fill(const WeightShape& shape, const std::uint8_t* keep, const std::int32_t* row_offsets,
               const KeptArrays& to, cudaStream_t stream);

// values [kept] = weight at the kept places; also in the order of W^T unless transposed_values is null.
void kept_gather(const KeptView& view, const float* weight, float* values, float* transposed_values,
                 cudaStream_t stream);
// weight at the kept places = values; the others stay as they are.
void kept_scatter(const KeptView& view, const float* values, float* weight, cudaStream_t stream);

}  // namespace espalier::kernels
