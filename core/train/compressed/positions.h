// Where the kept weights of a layer are, in the fewest bytes of: nothing (all are kept), a bitmap, the steps from each
// kept weight to the next (the column index differences of CSR, running on from row to row so that no row offsets are
// needed), or a list of the blocks that are kept whole. Steps are written in a fixed number of bits, where the largest
// code means "so far and farther" (Han et al., Deep Compression, 2016, arXiv 1510.00149, section 2), by Huffman code
// (section 4), or by Rice code, which is the Huffman code of weights pruned at random: Gallager & van Voorhis, Optimal
// Source Codes for Geometrically Distributed Integer Alphabets, 1975.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/train/compressed/bits.h"

namespace espalier::compressed {

// A weight [rows, ...] as a matrix; the trailing axes flattened into columns, of which `patch` belong to one channel.
struct Grid {
  std::int64_t rows = 1, columns = 1, patch = 1;
  std::int64_t size() const { return rows * columns; }
};
Grid grid_of(const Shape& shape);

struct Layout {
  enum class Kind : std::uint8_t { all, bitmap, steps, blocks };
  Kind kind = Kind::all;
  std::int64_t block_rows = 1, block_columns = 1;  // of blocks
  std::string to_string() const;                   // "dense", "bitmap", "csr steps", "blocks 8x8"
};

// keep: 1 for each element that is kept, else 0. `huffman`: steps may be written in codes of varying length.
Layout write_positions(std::span<const std::uint8_t> keep, const Grid& grid, bool huffman, BitWriter& out);

struct Positions {
  Layout layout;
  std::vector<std::uint8_t> keep;
};
Positions read_positions(const Grid& grid, BitReader& in);  // throws CheckpointError

}  // namespace espalier::compressed
