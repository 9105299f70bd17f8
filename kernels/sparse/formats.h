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

// Vectors of `height` neighbouring rows of one column that fall together (vector-wise N:M, V x 1): the rows of a group
// share their column indices. Every group has a multiple of kAtOnce vectors: zeros at its last column fill it up, so
// that products read whole steps without a guard. Rows beyond the last are padded with zeros.
struct VectorNmView {
  static constexpr int kAtOnce = 16;
  index_t rows = 0, columns = 0, height = 8, vectors = 0;
  const std::int32_t* group_offsets = nullptr;   // [groups() + 1], multiples of kAtOnce
  const std::int32_t* column_indices = nullptr;  // [vectors]
  const float* values = nullptr;                 // [vectors, height]
  constexpr index_t groups() const { return (rows + height - 1) / height; }
  constexpr index_t bytes() const { return 4 * (groups() + 1) + 4 * vectors * (1 + height); }
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

// The same as sparse tensor cores read it (mma.sp), in the format of T: half, bfloat16, or float for tf32, which keeps
// one of each two neighbours instead of two of four. Rows are padded to kTile and columns to kStep, a step of the
// product, with zeros. A metadata word describes a fragment's rows g and g + 8 (low and high half) in a quarter t of
// the step's columns: four nibbles, each two ascending 2-bit places of a group (tf32: 0x4 the first of two, 0xe the
// second). The words of lane 4 g + t for the four fragments of 64 rows lie side by side: one 128-bit load.
template <class T>
struct TwoFourTensorView {
  static constexpr int kTile = 128, kStep = 128 / int(sizeof(T)), kFragmentRows = 16, kFragments = 4;
  static constexpr int kGroup = sizeof(T) == 4 ? 2 : 4, kKept = kGroup / 2;
  index_t rows = 0, columns = 0;
  const T* values = nullptr;                // [padded_rows(), padded_columns() / 2]
  const std::uint32_t* metadata = nullptr;  // [padded_rows() / 64, steps(), 32 lanes, kFragments]
  constexpr index_t padded_rows() const { return (rows + kTile - 1) / kTile * kTile; }
  constexpr index_t steps() const { return (columns + kStep - 1) / kStep; }
  constexpr index_t padded_columns() const { return steps() * kStep; }
  constexpr index_t values_size() const { return padded_rows() * padded_columns() / 2; }
  constexpr index_t metadata_size() const { return padded_rows() * steps() * 2; }
  constexpr index_t bytes() const { return index_t(sizeof(T)) * values_size() + 4 * metadata_size(); }
};

}  // namespace espalier::kernels
