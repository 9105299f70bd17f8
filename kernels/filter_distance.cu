// Sums of distances between the rows of a matrix; algorithm and cost in filter_distance.h.
#include "kernels/filter_distance.h"

#include "kernels/warp.h"

namespace espalier::kernels {
namespace {

template <int kThreads>
__global__ void euclidean_distances_kernel(MatrixShape shape, const float* __restrict__ w, float* __restrict__ sum) {
  using Rows = Team<kThreads>;
  const index_t row = team_row<kThreads>(), columns = row < shape.rows ? shape.columns : 0;
  const float* const mine = w + (row < shape.rows ? row : 0) * shape.columns;
  double total = 0;
  for (index_t other = 0; other < shape.rows; ++other) {
    const float* const theirs = w + other * shape.columns;
    total += sqrtf(Rows::sum(0, columns, [&](index_t i) { return (mine[i] - theirs[i]) * (mine[i] - theirs[i]); }));
  }
  if (row < shape.rows && Rows::leads()) sum[row] = float(total);
}

template <int kThreads>
__global__ void angular_distances_kernel(MatrixShape shape, const float* __restrict__ w, float* __restrict__ sum) {
  using Rows = Team<kThreads>;
  const index_t row = team_row<kThreads>(), columns = row < shape.rows ? shape.columns : 0;
  const float* const mine = w + (row < shape.rows ? row : 0) * shape.columns;
  const float own = Rows::sum(0, columns, [&](index_t i) { return mine[i] * mine[i]; });
  double total = 0;
  for (index_t other = 0; other < shape.rows; ++other) {
    const float* const theirs = w + other * shape.columns;
    const float length = Rows::sum(0, columns, [&](index_t i) { return theirs[i] * theirs[i]; });
    const float dot = Rows::sum(0, columns, [&](index_t i) { return mine[i] * theirs[i]; });
    if (other == row || own == 0.0f) continue;
    total += length > 0.0f ? 1.0f - fabsf(dot) / (sqrtf(own) * sqrtf(length)) : 1.0f;
  }
  if (row < shape.rows && Rows::leads()) sum[row] = float(total);
}

}  // namespace

void filter_distances(const MatrixShape& shape, FilterDistance distance, const float* w, float* sum,
                      cudaStream_t stream, RowTeam team) {
  if (shape.rows == 0) return;
  with_row_team(shape.columns, team, [&]<int kThreads>() {
    const simt::Launch grid = team_per_row<kThreads>(shape.rows, stream);
    if (distance == FilterDistance::euclidean)
      simt::launch(euclidean_distances_kernel<kThreads>, grid, shape, w, sum);
    else
      simt::launch(angular_distances_kernel<kThreads>, grid, shape, w, sum);
  });
}

}  // namespace espalier::kernels
