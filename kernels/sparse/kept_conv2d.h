// The kept weights of a pruned convolution in training, beside those of its matrix [filters, patch] (kept.h): the same
// ones in the order of the convolution that turns dy into dx, and a step's values together with where they find their
// runs in csr_conv2d(). Made once for each mask; a step gathers, 12 bytes read and 8 written for each kept weight.
#pragma once
#include <optional>

#include "kernels/sparse/csr_conv2d.h"

namespace espalier::kernels {

// dx = conv2d(dy, W flipped along both sides of its window, channels for filters), as long as the stride is 1 and the
// padding stays within the window, which must be square where it pads; else nothing.
std::optional<Conv2dShape> input_gradient_shape(const Conv2dShape& shape);

// The flipped weight [channels, filters / groups * window] in CSR; places in W as it lies.
struct FlippedArrays {
  std::int32_t *row_offsets, *column_indices, *places;  // [channels + 1], [kept], [kept]
};
// Of `shape` only filters, channels, groups and the window matter; keep [filters, patch], not 0 = lives.
void kept_flip(const Conv2dShape& shape, const std::uint8_t* keep, const FlippedArrays& to, cudaStream_t stream);

// What csr_conv2d() with this layout reads of a weight whose kept elements stand in these columns and places.
struct KeptColumns {
  index_t kept = 0;
  const std::int32_t *column_indices = nullptr, *places = nullptr;
};
void kept_conv2d_gather(const Conv2dShape& shape, const CsrConv2dLayout& layout, const KeptColumns& columns,
                        const float* weight, float* values, std::int32_t* offsets, cudaStream_t stream);

}  // namespace espalier::kernels
