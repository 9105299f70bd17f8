// Loops over a matrix whose rows share some work: on a GPU neighbouring threads take neighbouring columns (coalesced)
// and the per-row work is done once per thread and row instead of once per element, so no element pays for a 64-bit
// division; on a CPU core one "thread" takes whole rows, and the compiler vectorises the column loop.
// Device code: include it from a .cu only.
//   for_each_row(rows, [&](index_t row) { ...; for_each_column(columns, [&](index_t column) { ... }); });
#pragma once
#include <algorithm>
#include <source_location>
#include <type_traits>

#include "kernels/grid.h"
#include "kernels/shapes.h"
#include "kernels/simt/simt.h"
#include "kernels/simt/vectors.h"

namespace espalier::kernels {

constexpr index_t kMaxRowBlocks = 16384;  // many blocks of little work balance uneven multiprocessors; rows stride on

inline simt::Launch rows_grid(index_t rows, index_t columns, cudaStream_t stream,
                              std::source_location where = std::source_location::current()) {
  if constexpr (simt::kContiguousElements) {
    const index_t blocks = std::min(ceil_div<index_t>(rows * columns, simt::kElementsPerThread), rows);
    return {dim3(unsigned(std::min<index_t>(blocks, simt::kElementBlocks))), dim3(1), 0, stream, where};
  }
  index_t lanes = 1;  // a power of two that wastes less than half of its threads; 32 keeps a warp within one row
  while (lanes < columns && lanes < 32) lanes *= 2;
  const index_t rows_per_block = simt::kElementThreads / lanes;
  const index_t across = std::min<index_t>(ceil_div(columns, lanes * simt::kElementsPerThread), kMaxGridYZ);
  const index_t down = std::min<index_t>(ceil_div(rows, rows_per_block), ceil_div<index_t>(kMaxRowBlocks, across));
  return {dim3(unsigned(down), unsigned(across)), dim3(unsigned(lanes), unsigned(rows_per_block)), 0, stream, where};
}

template <class Body>
__device__ inline void for_each_row(index_t rows, Body body) {
  if constexpr (simt::kContiguousElements) {
    const index_t run = ceil_div<index_t>(rows, gridDim.x), begin = run * blockIdx.x;
    const index_t end = begin + run < rows ? begin + run : rows;
    for (index_t row = begin; row < end; ++row) body(row);
  } else {
    const index_t first = index_t(blockIdx.x) * blockDim.y + threadIdx.y, step = index_t(gridDim.x) * blockDim.y;
    for (index_t row = first; row < rows; row += step) body(row);
  }
}

template <class Body>
__device__ inline void for_each_column(index_t columns, Body body) {
  if constexpr (simt::kContiguousElements) {
    for (index_t column = 0; column < columns; ++column) body(column);
  } else {
    const index_t first = index_t(blockIdx.y) * blockDim.x + threadIdx.x, step = index_t(gridDim.y) * blockDim.x;
    for (index_t column = first; column < columns; column += step) body(column);
  }
}

// body(lanes, column) for columns [column, column + lanes()): one column a thread on a GPU. On a CPU as many as a
// vector register and the row allow, in a loop of constant length; the last block is moved back over the one before
// instead of leaving a scalar tail (rows of 13 columns are 8 + 8). So a column may be visited twice: body must
// overwrite.
template <int kLanes, class Body>
__device__ inline void overlapping_blocks(index_t columns, Body body) {
  for (index_t column = 0; column + kLanes < columns; column += kLanes) {
    body(std::integral_constant<int, kLanes>(), column);
  }
  body(std::integral_constant<int, kLanes>(), columns - kLanes);
}

template <class Body>
__device__ inline void for_each_column_block(index_t columns, Body body) {
  if constexpr (simt::kContiguousElements) {
    if constexpr (simt::kLanes >= 16) {
      if (columns >= 16) return overlapping_blocks<16>(columns, body);
    }
    if constexpr (simt::kLanes >= 8) {
      if (columns >= 8) return overlapping_blocks<8>(columns, body);
    }
    if (columns >= 4) return overlapping_blocks<4>(columns, body);
  }
  for_each_column(columns, [&](index_t column) { body(std::integral_constant<int, 1>(), column); });
}

}  // namespace espalier::kernels
