// A weight matrix cut into equal tiles, ragged at its edges: rows, columns, blocks, V x 1 vectors, filters and input
// channels are all tiles of [out, in * kernel height * kernel width], so one pair of kernels scores and masks any of
// them. reduce_tiles reads each weight once (4 bytes, one flop), the others write each once: memory bound. One team
// owns a tile, whose rows it reads coalesced; sums are taken in a fixed order.
#pragma once
#include <cstdint>

#include "kernels/row_team.h"
#include "kernels/shapes.h"
#include "kernels/simt/simt.h"

namespace espalier::kernels {

struct TiledMatrix {
  index_t rows = 1, columns = 1, tile_rows = 1, tile_columns = 1;
  constexpr index_t tiles_down() const { return (rows + tile_rows - 1) / tile_rows; }
  constexpr index_t tiles_across() const { return (columns + tile_columns - 1) / tile_columns; }
  constexpr index_t tiles() const { return tiles_down() * tiles_across(); }  // row-major
};

enum class TileReduction {
  sum,
  mean,
  norm,  // root of the sum of squares
};

// x [rows, columns] -> y [tiles]. In sum and mean an element of -infinity adds nothing; a tile of nothing else is
// -infinity itself: what was pruned before.
void reduce_tiles(const TiledMatrix& shape, TileReduction reduction, const float* x, float* y, cudaStream_t stream,
                  RowTeam team = RowTeam::automatic);

// y [rows, columns] = the value of its tile, or that times x; x may be y.
void spread_tiles(const TiledMatrix& shape, const float* tile, float* y, cudaStream_t stream);
void multiply_tiles(const TiledMatrix& shape, const float* tile, const float* x, float* y, cudaStream_t stream);
void spread_keep(const TiledMatrix& shape, const std::uint8_t* tile, std::uint8_t* keep, cudaStream_t stream);

}  // namespace espalier::kernels
