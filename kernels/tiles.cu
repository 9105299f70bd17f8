// Reductions over the tiles of a matrix, and values of tiles spread over it; cost in tiles.h.
#include "kernels/tiles.h"

#include "kernels/require.h"
#include "kernels/rows.h"
#include "kernels/warp.h"

namespace espalier::kernels {
namespace {

// The elements of one tile, counted along its rows.
struct Tile {
  index_t first, size, width, stride;

  __device__ Tile(const TiledMatrix& shape, index_t tile) : first(0), size(0), width(1), stride(shape.columns) {
    if (tile >= shape.tiles()) return;  // a team without a tile still meets the others in the shuffles
    const index_t across = shape.tiles_across();
    const index_t row = tile / across * shape.tile_rows, column = tile % across * shape.tile_columns;
    const index_t height = shape.rows - row < shape.tile_rows ? shape.rows - row : shape.tile_rows;
    width = shape.columns - column < shape.tile_columns ? shape.columns - column : shape.tile_columns;
    first = row * stride + column;
    size = height * width;
  }
  __device__ index_t operator[](index_t i) const {
    return width == stride ? first + i : first + i / width * stride + i % width;
  }
};

template <int kThreads>
__global__ void reduce_tiles_kernel(TiledMatrix shape, TileReduction reduction, const float* __restrict__ x,
                                    float* __restrict__ y) {
  using Rows = Team<kThreads>;
  const index_t number = team_row<kThreads>();
  const Tile tile(shape, number);
  const bool squares = reduction == TileReduction::norm;
  const auto value = [&](index_t i) { return x[tile[i]]; };
  float result = Rows::sum(0, tile.size, [&](index_t i) { return squares ? value(i) * value(i) : value(i); });
  // Both folds below are for rare tiles, but every team must call them: a block's teams meet in the same shuffles.
  const float living = Rows::sum(0, tile.size, [&](index_t i) { return value(i) != -INFINITY ? 1.0f : 0.0f; });
  const float rest = Rows::sum(0, tile.size, [&](index_t i) { return value(i) != -INFINITY ? value(i) : 0.0f; });
  if (number >= shape.tiles() || !Rows::leads()) return;
  if (!squares && living < float(tile.size)) result = living > 0 ? rest : -INFINITY;
  if (reduction == TileReduction::mean) result /= float(tile.size);
  y[number] = squares ? sqrtf(result) : result;
}

template <class T, class Write>
__device__ void write_tiles(const TiledMatrix& shape, const T* __restrict__ tile, Write write) {
  const index_t across = shape.tiles_across();
  for_each_row(shape.rows, [&](index_t row) {
    const T* of_row = tile + row / shape.tile_rows * across;
    for_each_column(shape.columns,
                    [&](index_t column) { write(row * shape.columns + column, of_row[column / shape.tile_columns]); });
  });
}

template <class T>
__global__ void spread_tiles_kernel(TiledMatrix shape, const T* tile, T* y) {
  write_tiles(shape, tile, [&](index_t i, T value) { y[i] = value; });
}

__global__ void multiply_tiles_kernel(TiledMatrix shape, const float* tile, const float* x, float* y) {
  write_tiles(shape, tile, [&](index_t i, float value) { y[i] = value * x[i]; });
}

void require_tiles(const TiledMatrix& shape, const char* launcher) {
  require(shape.rows >= 1 && shape.columns >= 1 && shape.tile_rows >= 1 && shape.tile_columns >= 1, launcher, ": ",
          shape.tile_rows, " x ", shape.tile_columns, " tiles of a ", shape.rows, " x ", shape.columns, " matrix");
}

}  // namespace

void reduce_tiles(const TiledMatrix& shape, TileReduction reduction, const float* x, float* y, cudaStream_t stream,
                  RowTeam team) {
  require_tiles(shape, "reduce_tiles");
  with_row_team(shape.tile_rows * shape.tile_columns, team, [&]<int kThreads>() {
    simt::launch(reduce_tiles_kernel<kThreads>, team_per_row<kThreads>(shape.tiles(), stream), shape, reduction, x, y);
  });
}

void spread_tiles(const TiledMatrix& shape, const float* tile, float* y, cudaStream_t stream) {
  require_tiles(shape, "spread_tiles");
  simt::launch(spread_tiles_kernel<float>, rows_grid(shape.rows, shape.columns, stream), shape, tile, y);
}

void multiply_tiles(const TiledMatrix& shape, const float* tile, const float* x, float* y, cudaStream_t stream) {
  require_tiles(shape, "multiply_tiles");
  simt::launch(multiply_tiles_kernel, rows_grid(shape.rows, shape.columns, stream), shape, tile, x, y);
}

void spread_keep(const TiledMatrix& shape, const std::uint8_t* tile, std::uint8_t* keep, cudaStream_t stream) {
  require_tiles(shape, "spread_keep");
  simt::launch(spread_tiles_kernel<std::uint8_t>, rows_grid(shape.rows, shape.columns, stream), shape, tile, keep);
}

}  // namespace espalier::kernels
