// Runs of columns copied between two row-major matrices of different width: what joins maps along their channels, and
// what takes the gradient of the joined map apart again. Memory bound: 8 bytes per element copied.
#pragma once
#include "kernels/shapes.h"
#include "kernels/simt/simt.h"

namespace espalier::kernels {

// to[row, column] = from[row, column] for all rows and the first `columns` columns. The pitches are the elements from
// row to row, at least `columns`; a pointer into a row chooses the first column.
struct ColumnRun {
  index_t rows = 1, columns = 1;
  index_t from_pitch = 1, to_pitch = 1;
};

void copy_columns(const ColumnRun& run, const float* from, float* to, cudaStream_t stream);

}  // namespace espalier::kernels
