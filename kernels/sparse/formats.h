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

// The places of a weight W that live while the others stay zero, for training W on them alone: W and its transpose in
// CSR, without values, which change with every update. Valid until the mask changes.
struct KeptView {
  index_t rows = 0, columns = 0, kept = 0;
  const std::int32_t* row_offsets = nullptr;     // [rows + 1], of W
  const std::int32_t* column_indices = nullptr;  // [kept]
  const std::int32_t* places = nullptr;          // [kept]: row * columns + column, ascending
  const std::int32_t* column_offsets = nullptr;  // [columns + 1], of W^T
  const std::int32_t* row_indices = nullptr;     // [kept]
  const std::int32_t* transposed = nullptr;      // [kept]: where W's i-th stands among those of W^T
  constexpr CsrView with(const float* values) const {
    return {rows, columns, kept, row_offsets, column_indices, values};
  }
  constexpr CsrView transposed_with(const float* values) const {
    return {columns, rows, kept, column_offsets, row_indices, values};
  }
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

// Square blocks, as many places for them in every row of blocks: Blocked-ELL, which cuSPARSE multiplies. A place that
// is left over has column -1 and zeros. rows and columns are multiples of `block`.
struct BlockedEllView {
  index_t rows = 0, columns = 0, block = 8, places = 0;
  const std::int32_t* column_indices = nullptr;  // [rows / block, places], counted in blocks
  const float* values = nullptr;                 // [rows, places * block]
  constexpr index_t block_grid_rows() const { return rows / block; }
  constexpr index_t bytes() const { return 4 * block_grid_rows() * places + 4 * rows * places * block; }
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

// V:N:M: of each `window` columns a group of `height` rows keeps four, and of those each row two (tf32: one of each two
// neighbours), which is 2:4 of the kept columns side by side. A window with fewer than four columns repeats its last
// one, and padding the weight's first, with zeros.
template <class T>
struct VnmTensorView {
  static constexpr int kKept = 4, kMaxWindow = 32;
  index_t rows = 0, columns = 0, height = 128, window = 8;
  TwoFourTensorView<T> kept = {};                // [rows, windows() * kKept]
  const std::int32_t* column_indices = nullptr;  // [groups(), kept.padded_columns()]
  constexpr index_t groups() const { return (rows + height - 1) / height; }
  constexpr index_t windows() const { return (columns + window - 1) / window; }
  constexpr index_t kept_columns() const { return windows() * kKept; }
  constexpr index_t bytes() const { return kept.bytes() + 4 * groups() * kept.padded_columns(); }
};

// CSR arranged for warps that multiply four rows side by side, eight lanes each, out of a ring of slabs of the dense
// operand (csr_slab_spmm.h). A block's rows are neighbours of the matrix, as many as have about an equal share of its
// nonzeros. Four rows form a quad; a row may stand in several quads and its nonzeros take turns among them: parts,
// whose sums are added in the end. Rows meet in a quad that have about as many nonzeros left, and quads are dealt to
// the block's warps so that these have about equal work. A quad reads its nonzeros in groups, kSteps of each part.
// Each block takes the columns in an order of its own, in which its rows come along evenly, and skips those that none
// of its rows has. While a slab of that order is current the kResident - 1 after it can be read, too: a part that has
// fewer nonzeros in a slab goes on into the next ones, and little padding is left (value 0, ring row kZeros, which
// holds zeros). 5 bytes per nonzero: a value and its column as an 8-bit row of the ring.
struct SlabCsrView {
  static constexpr int kQuad = 4, kQuads = 4, kWarpRows = kQuad * kQuads;  // rows of a quad, quads of a warp
  static constexpr int kSteps = 4;                                         // nonzeros of each row in a group
  static constexpr int kSlab = 63, kZeros = 63, kPitch = 64;               // columns of a slab, then a row of zeros
  static constexpr int kSlabs = 4, kResident = kSlabs - 1;                 // slabs of the ring; one is being filled
  static constexpr int kMinWarps = 2, kMaxWarps = 16;
  static constexpr index_t kMaxColumns = 65535;
  static constexpr std::uint16_t kNone = 0xFFFF;
  index_t rows = 0, columns = 0;
  int warps = kMinWarps;                         // of a block
  index_t blocks = 1;                            // has_places() for all rows
  index_t group_count = 0;                       // without the last, which is loaded and not multiplied
  index_t columns_taken = 0;                     // by all blocks together
  const std::int32_t* first_rows = nullptr;      // [blocks + 1]
  const std::int32_t* column_counts = nullptr;   // [blocks]: of the columns that a block takes
  const std::uint16_t* block_columns = nullptr;  // [blocks, columns]: those, in its order
  const std::uint32_t* parts = nullptr;          // [rows]: the first of a row's parts in its block; how many << 16
  const std::uint16_t* part_of = nullptr;        // [places()]: which part of its block a quad's place holds, or kNone
  const std::int32_t* row_of = nullptr;          // [places()]: the row that it belongs to
  const std::int32_t* group_offsets = nullptr;   // [quads() + 1]
  const std::uint32_t* counts = nullptr;     // [all_warps(), slabs()] and one more: groups of its quads, 8 bits each
  const float* values = nullptr;             // [group_count + 1, kQuad, kSteps]
  const std::uint32_t* ring_rows = nullptr;  // [group_count + 1, kQuad]: kSteps rows of the ring, 8 bits each
  constexpr index_t block_places() const { return index_t(warps) * kWarpRows; }
  constexpr index_t all_warps() const { return blocks * warps; }
  constexpr bool has_places() const { return blocks * block_places() >= rows; }
  constexpr index_t quads() const { return all_warps() * kQuads; }
  constexpr index_t places() const { return quads() * kQuad; }
  constexpr index_t slabs() const { return (columns + kSlab - 1) / kSlab; }  // of a block that takes all columns
  constexpr index_t count_words() const { return all_warps() * slabs() + 1; }
  constexpr index_t bytes() const {
    const index_t slabs_taken = (columns_taken + (kSlab - 1) * blocks) / kSlab;  // at most; a warp reads one count more
    return group_count * kQuad * kSteps * 5 + 4 * (warps * (slabs_taken + blocks) + quads() + rows + 2 * blocks + 2) +
           2 * (columns_taken + places());
  }
};

// CSR arranged for products whose dense operand stays in shared memory: a tile of 8, 16 or 32 samples of a chunk of
// columns. Of each chunk the rows are sorted by the nonzeros that they have there; neighbours form bundles of as many
// rows as a warp multiplies side by side, kLane samples to a lane, and all rows of a bundle end together but for a
// little padding (value 0, column `chunk`, where zeros lie). So that the reads of a quarter of a warp meet in different
// banks, a row's nonzeros are dealt out by their columns' classes(): the n-th of the row at place p is of class
// (p + n) mod classes() as long as there are any. 6 bytes per nonzero: a value and its 16-bit column within the chunk.
struct ResidentCsrView {
  static constexpr int kSteps = 4;  // nonzeros of each row in a group
  static constexpr int kLane = 8;
  index_t rows = 0, columns = 0;
  int samples = 32;                              // of a tile; words of shared memory, where several share one
  int to_word = 1;                               // 2: x is read in 16 bits, and a tile has twice as many samples
  int chunk = 8;                                 // columns, a multiple of 8
  int parts = 1, warps = 8;                      // blocks that share out a chunk's bundles, and warps of a block
  int slices = 1;                                // warps that share a bundle; more than one: each has one at most
  index_t group_count = 0;                       // without the last `slices`, which are loaded and not multiplied
  const std::int32_t* row_of = nullptr;          // [chunks(), places()]: the row at a place, or -1
  const std::int32_t* group_offsets = nullptr;   // [chunks() * bundles() + 1]
  const float* values = nullptr;                 // [group_count + slices, bundle_rows(), kSteps]
  const std::uint16_t* chunk_columns = nullptr;  // the same
  // Of a block: a panel and a row of zeros, then sums of slices in their place.
  constexpr index_t shared_bytes() const {
    const index_t panel = 4 * index_t(chunk + 1) * samples;
    const index_t sums = slices > 1 ? 4 * 32 * kLane * to_word * index_t(warps) : 0;
    return panel > sums ? panel : sums;
  }
  constexpr int tile_samples() const { return samples * to_word; }
  constexpr int bundle_rows() const { return 32 * kLane / samples; }
  constexpr int classes() const { return samples < 32 ? 32 / samples : 1; }
  constexpr index_t bundles() const { return (rows + bundle_rows() - 1) / bundle_rows(); }  // of a chunk
  constexpr index_t places() const { return bundles() * bundle_rows(); }
  constexpr index_t chunks() const { return (columns + chunk - 1) / chunk; }
  constexpr index_t bytes() const {
    return group_count * bundle_rows() * kSteps * 6 + 4 * (chunks() * (places() + bundles()) + 1);
  }
};

// CSR for reading in 128-bit loads: a row is whole pieces of eight nonzeros, padded with zeros in column `columns`,
// where csr_spmv() keeps a zero of x. 16-bit columns: 6 bytes per nonzero of T = float, 4 of half or bfloat16.
// A lane takes a piece. Its values are kParts loads; so that neighbouring lanes load neighbouring values, a row's
// values ascend by column, and the columns of kBlock pieces (at the end of a row of what is left) are dealt out
// accordingly.
template <class T>
struct PieceCsrView {
  static constexpr int kPiece = 8, kBlock = 8;
  static constexpr int kPart = 16 / sizeof(T), kParts = kPiece / kPart;  // values of a load, loads of a piece
  static constexpr index_t kMaxColumns = 65535;
  index_t rows = 0, columns = 0, pieces = 0;
  const std::int32_t* piece_offsets = nullptr;    // [rows + 1]
  const std::uint16_t* column_indices = nullptr;  // [pieces, kPiece]
  const T* values = nullptr;                      // [pieces, kPiece]
  constexpr index_t bytes() const { return 4 * (rows + 1) + pieces * kPiece * index_t(2 + sizeof(T)); }
  // Where the column of a row's i-th value stands, counted from the row's first; the row has so many pieces.
  static constexpr int column_place(int i, int pieces) {
    const int block = i / (kBlock * kPiece) * kBlock, inside = i - block * kPiece;
    const int width = pieces - block < kBlock ? pieces - block : kBlock;
    const int load = inside / kPart, lane = load % width, part = load / width;
    return (block + lane) * kPiece + part * kPart + inside % kPart;
  }
};

// Square blocks of 8, 16 or 32 as tensor cores read them, in the format of T (float: tf32). The blocks of a row of
// blocks lie side by side, cut into steps of 64 bytes of depth; a step has four chunks of 16 bytes, each of one block
// and with the column of x that it begins at. Zeros at its last chunk's column fill the last step of a row of blocks.
template <class T>
struct BlockTensorView {
  static constexpr int kDepth = 64 / int(sizeof(T)), kChunks = 4, kChunk = kDepth / kChunks;  // columns of a step
  index_t rows = 0, columns = 0, block = 8, steps = 0;
  const std::int32_t* step_offsets = nullptr;   // [groups() + 1]
  const std::int32_t* chunk_columns = nullptr;  // [steps, kChunks]
  const T* values = nullptr;                    // [steps, block, kDepth]
  constexpr index_t groups() const { return (rows + block - 1) / block; }
  constexpr index_t padded_columns() const { return (columns + 31) / 32 * 32; }  // of x: no block sticks out
  constexpr index_t bytes() const {
    return 4 * (groups() + 1) + steps * (4 * kChunks + index_t(sizeof(T)) * block * kDepth);
  }
};

}  // namespace espalier::kernels
