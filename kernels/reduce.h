// Sums, means, sums of squares and maxima of a whole array, of rows, of columns and of channels; argmax of rows.
// Memory bound: every element is read once (4 bytes, 1 flop). Two passes where one team per result would leave the
// device idle: teams reduce slices to doubles, a second kernel combines them in a fixed order, so results are equal
// from run to run, and with at most 128 float additions in a row the error stays near 10 units in the last place of
// the sum of magnitudes. NaN wins every maximum. Workspace sizes are explicit: nothing here allocates.
#pragma once
#include "kernels/row_team.h"
#include "kernels/shapes.h"
#include "kernels/simt/simt.h"

namespace espalier::kernels {

enum class Reduction { sum, mean, sum_of_squares, maximum };

// x [batch, channels, area] -> y [channels]: the gradient of a convolution's bias, batch-norm statistics.
std::size_t reduce_planes_workspace_bytes(const PlanesShape& shape);
void reduce_planes(const PlanesShape& shape, Reduction reduction, const float* x, float* y, void* workspace,
                   cudaStream_t stream, RowTeam team = RowTeam::automatic);

// x [count] -> y [1]; the empty sum is 0, the empty maximum -infinity, the empty mean NaN.
std::size_t reduce_all_workspace_bytes(index_t count);
void reduce_all(index_t count, Reduction reduction, const float* x, float* y, void* workspace, cudaStream_t stream,
                RowTeam team = RowTeam::automatic);

// x [rows, columns] -> y [columns]
std::size_t reduce_columns_workspace_bytes(const MatrixShape& shape);
void reduce_columns(const MatrixShape& shape, Reduction reduction, const float* x, float* y, void* workspace,
                    cudaStream_t stream, RowTeam team = RowTeam::automatic);

// x [rows, columns] -> y [rows]
std::size_t reduce_rows_workspace_bytes(const MatrixShape& shape);
void reduce_rows(const MatrixShape& shape, Reduction reduction, const float* x, float* y, void* workspace,
                 cudaStream_t stream, RowTeam team = RowTeam::automatic);

// index [rows]: the column of the row's maximum, the first one where several are equal; a NaN counts as the maximum.
void argmax_rows(const MatrixShape& shape, const float* x, std::int32_t* index, cudaStream_t stream,
                 RowTeam team = RowTeam::automatic);

}  // namespace espalier::kernels
