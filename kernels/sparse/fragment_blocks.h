// A weight matrix of which only fragments of 16 rows x 32 bytes that hold a nonzero are kept, as mma.sync wants them in
// registers; and its encoding on the device. Decoding gives back the weight, rounded to T.
#pragma once
#include <cstdint>

#include "kernels/sparse/encode.h"

namespace espalier::kernels {

// Of a step of the product, which is two instructions deep: its first fragment, and a bit for each that is kept, those
// of the first instruction (as many groups of 16 rows as a tile has) before those of the second.
struct alignas(8) FragmentStep {
  std::int32_t first;
  std::uint32_t kept;
};

// Rows come in tiles of 64 or 128. A tile has a step for every two columns of fragments in which any of its four or
// eight groups of rows keeps one; an odd last column stands beside -1, which nobody multiplies. T is half, bfloat16, or
// float for tf32.
template <class T>
struct FragmentBlocksView {
  static constexpr int kRows = 16, kColumns = 32 / int(sizeof(T));
  static constexpr int kLaneValues = 16 / int(sizeof(T)), kFragment = 32 * kLaneValues;
  index_t rows = 0, columns = 0, tile = 64, steps = 0, fragments = 0;
  const std::int32_t* step_offsets = nullptr;  // [tiles() + 1]
  const std::int32_t* step_columns = nullptr;  // [steps, 2], in fragments
  const FragmentStep* step_parts = nullptr;    // [steps]
  const T* values = nullptr;                   // [fragments, 32 lanes, 16 bytes]
  constexpr index_t tiles() const { return (rows + tile - 1) / tile; }
  constexpr int groups() const { return int(tile) / kRows; }  // of a tile
  constexpr index_t fragment_columns() const { return (columns + kColumns - 1) / kColumns; }
  constexpr index_t all_fragments() const { return (rows + kRows - 1) / kRows * fragment_columns(); }
  constexpr index_t bytes() const {
    return 4 * (tiles() + 1) + 16 * steps + fragments * kFragment * index_t(sizeof(T));
  }
};

// Three steps, since their results say how large the arrays of the next are. masks [tiles, fragment_columns()]: a bit
// for each group of rows that keeps the fragment; then step_offsets and fragment_offsets [tiles + 1], whose last
// elements are the numbers of steps and fragments; then all that `layout` does not hold yet.
template <class T>
void fragment_blocks_count(const FragmentBlocksView<T>& layout, const float* weight, std::uint8_t* masks,
                           std::int32_t* step_offsets, std::int32_t* fragment_offsets, cudaStream_t stream);
template <class T>
void fragment_blocks_fill(const FragmentBlocksView<T>& layout, const float* weight, const std::uint8_t* masks,
                          const std::int32_t* fragment_offsets, std::int32_t* step_columns, FragmentStep* step_parts,
                          T* values, cudaStream_t stream);
template <class T>
void fragment_blocks_decode(const FragmentBlocksView<T>& view, float* weight, cudaStream_t stream);

}  // namespace espalier::kernels
