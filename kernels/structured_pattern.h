// Pruning patterns in which blocks of a matrix fall together: scores of blocks, masks of blocks as masks of weights.
// Memory bound: one read of the scores or one write of the mask.
#pragma once
#include <cstdint>

#include "kernels/shapes.h"
#include "kernels/simt/simt.h"

namespace espalier::kernels {

// A matrix as one tap of itself; blocks lie within a tap of [filters, channels, taps].
constexpr PlanesShape as_planes(const MatrixShape& shape) { return {.batch = shape.rows, .channels = shape.columns}; }

// How many blocks of filters x channels there are; those at the end may stick out.
constexpr PlanesShape block_grid(const PlanesShape& shape, const MatrixShape& block) {
  return {(shape.batch + block.rows - 1) / block.rows, (shape.channels + block.columns - 1) / block.columns,
          shape.area};
}

// block_score [block_grid()] = mean of score [filters, channels, taps] over what exists of the block. Buried elements
// (-infinity, see pattern.h) count as zeros; a block of nothing else is buried too.
void score_blocks(const PlanesShape& shape, const MatrixShape& block, const float* score, float* block_score,
                  cudaStream_t stream);

// keep [filters, channels, taps] = block_keep [block_grid()] of the element's block.
void expand_blocks(const PlanesShape& shape, const MatrixShape& block, const std::uint8_t* block_keep,
                   std::uint8_t* keep, cudaStream_t stream);

// keep [rows, columns]: of each m neighbours of a row the n highest scores live among those whose column lives in
// column_keep [ceil(rows / height), columns]. Among equal scores the earlier lives. 1 <= n <= m.
void keep_n_of_columns(const MatrixShape& shape, int height, int n, int m, const std::uint8_t* column_keep,
                       const float* score, std::uint8_t* keep, cudaStream_t stream);

}  // namespace espalier::kernels
