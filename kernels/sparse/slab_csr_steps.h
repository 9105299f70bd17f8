// The two halves of slab_csr_count(): in which order a block takes its columns, and which rows stand together.
#pragma once
#include "kernels/sparse/slab_csr.h"

namespace espalier::kernels {

// What the steps hand on to each other: parts of slab_csr_scratch() words.
struct SlabCsrScratch {
  std::uint64_t* slab_bits;    // [rows, slabs]: bit i of a word: the row has the i-th column of its block's slab
  std::uint32_t* column_bits;  // [blocks, columns, row_words()]: which of a block's rows have a column
  std::int32_t* place_of;      // [places]: the place of a part, counted in its block
  std::int32_t* next_group;    // [places]: of a part that is being filled
  std::uint8_t* walked;        // [blocks, slabs, quads of a block]: the counts before quads have their slots
  SlabCsrScratch(const SlabCsrView& layout, std::int64_t* words);
  static constexpr index_t row_words(const SlabCsrView& layout) { return (layout.block_places() + 31) / 32; }
};

// Needs layout.first_rows; writes block_columns, column_counts and both kinds of bits.
void slab_csr_order_columns(const CsrView& csr, const SlabCsrView& layout, const SlabCsrScratch& scratch,
                            std::uint16_t* block_columns, std::int32_t* column_counts, cudaStream_t stream);
// Needs these; writes parts, part_of, row_of, place_of, the counts and groups [quads + 1]: 0, then those of each quad.
void slab_csr_form_quads(const CsrView& csr, const SlabCsrView& layout, const SlabCsrScratch& scratch,
                         const SlabCsrOrder& order, std::uint8_t* counts, std::int32_t* groups, cudaStream_t stream);

// Which byte of the counts has the groups of a quad in a slab.
constexpr index_t slab_csr_count_at(const SlabCsrView& layout, index_t quad, index_t slab) {
  return (quad / SlabCsrView::kQuads * layout.slabs() + slab) * SlabCsrView::kQuads + quad % SlabCsrView::kQuads;
}

}  // namespace espalier::kernels
