// Sparse weights as plain device pointers: what the kernels of this folder read and encode.h writes.
// All describe a matrix [rows, columns] whose rows are outputs; a convolution's weight is [filters, patch]. Columns of
// a row ascend. bytes() is what a product must read of the weight.
#pragma once
#include <cstdint>

#include "kernels/shapes.h"

namespace espalier::kernels {

// Compressed sparse rows: row r holds entries row_offsets[r] .. row_offsets[r + 1].
struct CsrView {
  index_t rows = 0, columns = 0, nonzeros = 0;
  const std::int32_t* row_offsets = nullptr;     // [rows + 1]
  const std::int32_t* column_indices = nullptr;  // [nonzeros]
  const float* values = nullptr;                 // [nonzeros]
  constexpr index_t bytes() const { return 4 * (rows + 1) + 8 * nonzeros; }
};

// Blocks of block_rows x block_columns that hold at least one nonzero, as rows of blocks. Blocks that stick out of the
// matrix are padded with zeros.
struct BlockCsrView {
  index_t rows = 0, columns = 0, block_rows = 1, block_columns = 1, blocks = 0;
  const std::int32_t* row_offsets = nullptr;     // [rows of blocks + 1]
  const std::int32_t* column_indices = nullptr;  // [blocks], counted in blocks
  const float* values = nullptr;                 // [blocks, block_rows, block_columns]
  constexpr index_t block_grid_rows() const { return (rows + block_rows - 1) / block_rows; }
  constexpr index_t block_grid_columns() const { return (columns + block_columns - 1) / block_columns; }
  constexpr index_t bytes() const {
    return 4 * (block_grid_rows() + 1) + 4 * blocks + 4 * blocks * block_rows * block_columns;
  }
};

// 2:4: of every four neighbouring weights at most two are nonzero. Each group keeps two values, ascending in place, and
// two 2-bit places; a metadata word describes kGroupsPerWord groups, the first in the lowest bits, within a group the
// first place in the lower two bits. Rows are padded to whole words with groups of zeros at places 0 and 1.
struct TwoFourView {
  static constexpr int kGroup = 4, kKept = 2, kGroupsPerWord = 8;
  static constexpr int kColumnsPerWord = kGroup * kGroupsPerWord;
  index_t rows = 0, columns = 0;
  const float* values = nullptr;            // [rows, words_per_row(), kGroupsPerWord, kKept]
  const std::uint32_t* metadata = nullptr;  // [rows, words_per_row()]
  constexpr index_t words_per_row() const { return (columns + kColumnsPerWord - 1) / kColumnsPerWord; }
  constexpr index_t values_per_row() const { return words_per_row() * kGroupsPerWord * kKept; }
  constexpr index_t bytes() const { return 4 * rows * (values_per_row() + words_per_row()); }
};

}  // namespace espalier::kernels
