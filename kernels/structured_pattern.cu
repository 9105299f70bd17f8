#include "kernels/structured_pattern.h"

#include "kernels/grid.h"
#include "kernels/require.h"

namespace espalier::kernels {
namespace {

// Neighbouring threads take neighbouring blocks of a row: blocks one column wide, the common ones, are read coalesced.
__global__ void score_blocks_kernel(PlanesShape shape, MatrixShape block, PlanesShape grid,
                                    const float* __restrict__ score, float* __restrict__ block_score) {
  for_each_element(grid.size(), [=](index_t i) {
    const index_t tap = i % grid.area, across = i / grid.area;
    const index_t row = across / grid.channels * block.rows, column = across % grid.channels * block.columns;
    const index_t rows = shape.batch - row < block.rows ? shape.batch - row : block.rows;
    const index_t columns = shape.channels - column < block.columns ? shape.channels - column : block.columns;
    float sum = 0.0f;
    bool alive = false;
    for (index_t r = 0; r < rows; ++r) {
      for (index_t c = 0; c < columns; ++c) {
        const float one = score[((row + r) * shape.channels + column + c) * shape.area + tap];
        if (one == -INFINITY) continue;
        sum += one, alive = true;
      }
    }
    block_score[i] = alive ? sum / float(rows * columns) : -INFINITY;
  });
}

__global__ void expand_blocks_kernel(PlanesShape shape, MatrixShape block, PlanesShape grid,
                                     const std::uint8_t* __restrict__ block_keep, std::uint8_t* __restrict__ keep) {
  for_each_element(shape.size(), [=](index_t i) {
    const index_t tap = i % shape.area, row = i / shape.area / shape.channels, column = i / shape.area % shape.channels;
    keep[i] = block_keep[(row / block.rows * grid.channels + column / block.columns) * grid.area + tap];
  });
}

__global__ void keep_n_of_columns_kernel(MatrixShape shape, int height, int n, int m,
                                         const std::uint8_t* __restrict__ column_keep, const float* __restrict__ score,
                                         std::uint8_t* __restrict__ keep) {
  for_each_element(shape.size(), [=](index_t i) {
    const index_t row = i / shape.columns, column = i % shape.columns, first = column / m * m;
    const std::uint8_t* const lives = column_keep + row / height * shape.columns;
    const float* const scores = score + row * shape.columns;
    int beaten_by = 0;
    for (index_t other = first; other < first + m && other < shape.columns; ++other) {
      const bool wins = scores[other] > scores[column] || (scores[other] == scores[column] && other < column);
      beaten_by += lives[other] && wins;
    }
    keep[i] = lives[column] && beaten_by < n;
  });
}

void require_blocks(const char* name, const MatrixShape& block) {
  require(block.rows > 0 && block.columns > 0, name, ": blocks are ", block.rows, " x ", block.columns,
          "; both must be at least 1");
}

}  // namespace

void score_blocks(const PlanesShape& shape, const MatrixShape& block, const float* score, float* block_score,
                  cudaStream_t stream) {
  require_blocks("score_blocks", block);
  const PlanesShape grid = block_grid(shape, block);
  if (grid.size() == 0) return;
  simt::launch(score_blocks_kernel, elements_grid(grid.size(), stream), shape, block, grid, score, block_score);
}

void expand_blocks(const PlanesShape& shape, const MatrixShape& block, const std::uint8_t* block_keep,
                   std::uint8_t* keep, cudaStream_t stream) {
  require_blocks("expand_blocks", block);
  if (shape.size() == 0) return;
  simt::launch(expand_blocks_kernel, elements_grid(shape.size(), stream), shape, block, block_grid(shape, block),
               block_keep, keep);
}

void keep_n_of_columns(const MatrixShape& shape, int height, int n, int m, const std::uint8_t* column_keep,
                       const float* score, std::uint8_t* keep, cudaStream_t stream) {
  require(height > 0 && 1 <= n && n <= m, "keep_n_of_columns: height ", height, ", ", n, " of ", m,
          "; needs a height of at least 1 and 1 <= n <= m");
  if (shape.size() == 0) return;
  simt::launch(keep_n_of_columns_kernel, elements_grid(shape.size(), stream), shape, height, n, m, column_keep, score,
               keep);
}

}  // namespace espalier::kernels
