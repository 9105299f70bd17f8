// CSR -> SlabCsrView and back, on the device; once per weight. decode(encode(w)) == w.
// Two steps, as in encode.h: count settles the order of the columns, which row stands where and the scanned offsets of
// the quads' groups, whose last element is the size to allocate; fill writes the groups. A block of threads for each
// block of rows chooses one column after the other, then which rows stand together, which is what takes the time.
#pragma once
#include "kernels/simt/half.h"
#include "kernels/simt/simt.h"
#include "kernels/sparse/formats.h"

namespace espalier::kernels {

// Samples of type T that a tile of the product has: a row of the ring in shared memory.
inline constexpr int kSlabRowBytes = 256;
template <class T>
constexpr int slab_csr_samples() {
  return kSlabRowBytes / int(sizeof(T));
}
// Warps that a block has at most. Of 16-bit samples a lane has twice the sums, in some 140 registers: of the 65536 that
// a block may have, 12 warps' worth.
template <class T>
constexpr int slab_csr_warps() {
  return sizeof(T) == sizeof(float) ? SlabCsrView::kMaxWarps : 12;
}

// Sizes without pointers: blocks of so many warps that the busiest of so many multiprocessors has least to do in a
// product with a batch of that size, x read as T. `skew`: nonzeros of the longest row over those of a mean one; where
// rows differ much there are places for parts of the long ones. Sums are those of a row's parts, in ascending order.
template <class T>
SlabCsrView slab_csr_layout(index_t rows, index_t columns, index_t batch, index_t multiprocessors, double skew);

// Words of 64 bits that the steps hand on to each other: needed until slab_csr_fill() is done.
index_t slab_csr_scratch(const SlabCsrView& layout);

// What slab_csr_count() writes besides counts [layout.count_words()] and group_offsets [layout.quads() + 1]; sizes as
// SlabCsrView has them.
struct SlabCsrOrder {
  std::int32_t *first_rows, *column_counts;
  std::uint16_t* block_columns;
  std::uint32_t* parts;
  std::uint16_t* part_of;
  std::int32_t* row_of;
};
void slab_csr_count(const CsrView& csr, const SlabCsrView& layout, const SlabCsrOrder& order, std::uint32_t* counts,
                    std::int32_t* group_offsets, std::int64_t* scratch, cudaStream_t stream);
// values and ring_rows as SlabCsrView has them, at multiples of 16 bytes; `view` knows all the rest.
void slab_csr_fill(const CsrView& csr, const SlabCsrView& view, float* values, std::uint32_t* ring_rows,
                   std::int64_t* scratch, cudaStream_t stream);
// weight [rows, columns]
void slab_csr_decode(const SlabCsrView& view, float* weight, cudaStream_t stream);

}  // namespace espalier::kernels
