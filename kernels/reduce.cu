// Reductions of arrays, rows, columns and channels; algorithm and cost in reduce.h.
#include "kernels/reduce.h"

#include <limits>

#include "kernels/planes.h"

namespace espalier::kernels {
namespace {

struct SumOf {
  using Combine = Sum;
  static constexpr float kIdentity = 0.0f;
  __device__ static float map(float x) { return x; }
};
struct SumOfSquaresOf {
  using Combine = Sum;
  static constexpr float kIdentity = 0.0f;
  __device__ static float map(float x) { return x * x; }
};
struct MaximumOf {
  using Combine = Max;
  static constexpr float kIdentity = -std::numeric_limits<float>::infinity();
  __device__ static float map(float x) { return x; }
};

// One slice of one tile of channels: straight to y where it is the only slice, else to partial [slices, channels].
template <class Reader, class Of>
__global__ void reduce_slices_kernel(PlanesShape shape, ChannelGrid grid, double scale, const float* __restrict__ x,
                                     float* __restrict__ y, double* __restrict__ partial) {
  const Reader reader(shape, grid);
  float result[Reader::kChannels];
  reader.fold(
      result, Of::kIdentity, [&](index_t i, index_t, int) { return Of::map(x[i]); }, typename Of::Combine());
  reader.for_each_channel([&](index_t channel, int p) {
    if (grid.slices == 1) {
      y[channel] = float(scale * result[p]);
    } else {
      partial[grid.slice() * shape.channels + channel] = result[p];
    }
  });
}

template <int kThreads, class Of>
__global__ void combine_slices_kernel(PartialSums sums) {
  using Rows = Team<kThreads>;
  const index_t values = sums.y[1] == nullptr ? sums.channels : 2 * sums.channels;  // columns of partial
  const index_t column = team_row<kThreads>();
  const index_t mine = column < values ? sums.slices : 0;  // teams without a column still meet in the shuffles
  typename Of::Combine combine;
  double result = Of::kIdentity;
  Rows::for_each(0, mine, [&](index_t slice) { result = combine(result, sums.partial[slice * values + column]); });
  result = Rows::reduce(result, combine);
  if (column < values && Rows::leads()) {
    float* y = column < sums.channels ? sums.y[0] : sums.y[1] - sums.channels;  // no index: sums stays in registers
    y[column] = float(sums.scale * result);
  }
}

template <class Of>
void launch_combine_slices(const PartialSums& sums, cudaStream_t stream) {
  constexpr int kThreads = simt::kEmulated ? 1 : kWarp;
  const index_t values = sums.y[1] == nullptr ? sums.channels : 2 * sums.channels;
  simt::launch(combine_slices_kernel<kThreads, Of>, team_per_row<kThreads>(values, stream), sums);
}

template <int kThreads, class Of>
__global__ void reduce_rows_kernel(MatrixShape shape, double scale, const float* __restrict__ x,
                                   float* __restrict__ y) {
  using Rows = Team<kThreads>;
  const index_t row = team_row<kThreads>();
  const float* x_row = x + row * shape.columns;
  const float result = Rows::fold(
      0, row < shape.rows ? shape.columns : 0, Of::kIdentity, [&](index_t i) { return Of::map(x_row[i]); },
      typename Of::Combine());
  if (row < shape.rows && Rows::leads()) y[row] = float(scale * result);
}

template <int kThreads>
__global__ void argmax_rows_kernel(MatrixShape shape, const float* __restrict__ x, std::int32_t* __restrict__ index) {
  using Rows = Team<kThreads>;
  const index_t row = team_row<kThreads>();
  const float* x_row = x + row * shape.columns;
  const int columns = row < shape.rows ? int(shape.columns) : 0;
  const float most = Rows::fold(
      0, columns, MaximumOf::kIdentity, [&](index_t i) { return x_row[i]; }, Max());
  const int first = Rows::fold(
      0, columns, columns, [&](index_t i) { return x_row[i] == most || x_row[i] != x_row[i] ? int(i) : columns; },
      Min());
  if (row < shape.rows && Rows::leads()) index[row] = first;
}

// visit.operator()<Of>() for the reduction; a mean is a scaled sum.
template <class Visit>
void with_reduction(Reduction reduction, Visit visit) {
  switch (reduction) {
    case Reduction::sum:
    case Reduction::mean:
      return visit.template operator()<SumOf>();
    case Reduction::sum_of_squares:
      return visit.template operator()<SumOfSquaresOf>();
    case Reduction::maximum:
      return visit.template operator()<MaximumOf>();
  }
}

double scale_of(Reduction reduction, index_t count) { return reduction == Reduction::mean ? 1.0 / double(count) : 1.0; }

// Rows longer than a slice are cut up like channels, unless the caller asks for a team.
bool rows_are_sliced(const MatrixShape& shape, RowTeam team) {
  return team == RowTeam::automatic && shape.columns > ChannelGrid::kSliceElements;
}

}  // namespace

void combine_slices(const PartialSums& sums, cudaStream_t stream) { launch_combine_slices<SumOf>(sums, stream); }

std::size_t reduce_planes_workspace_bytes(const PlanesShape& shape) {
  return channel_workspace_bytes(merge_single_channel(shape), 1);
}

void reduce_planes(const PlanesShape& shape, Reduction reduction, const float* x, float* y, void* workspace,
                   cudaStream_t stream, RowTeam team) {
  require(shape.batch >= 0 && shape.channels >= 0 && shape.area >= 0, "reduce_planes: sizes [", shape.batch, ", ",
          shape.channels, ", ", shape.area, "] must not be negative");
  if (shape.channels == 0) return;
  const double scale = scale_of(reduction, shape.per_channel());
  auto* partial = static_cast<double*>(workspace);
  const PlanesShape of = merge_single_channel(shape);
  with_reduction(reduction, [&]<class Of>() {
    with_channel_reader(of, team, [&]<class Reader>(const ChannelGrid& grid) {
      simt::launch(reduce_slices_kernel<Reader, Of>, grid.launch(stream), of, grid, scale, x, y, partial);
      if (grid.slices > 1) launch_combine_slices<Of>({of.channels, grid.slices, partial, scale, {y, nullptr}}, stream);
    });
  });
}

std::size_t reduce_all_workspace_bytes(index_t count) { return reduce_planes_workspace_bytes({1, 1, count}); }

void reduce_all(index_t count, Reduction reduction, const float* x, float* y, void* workspace, cudaStream_t stream,
                RowTeam team) {
  reduce_planes({1, 1, count}, reduction, x, y, workspace, stream, team);
}

std::size_t reduce_columns_workspace_bytes(const MatrixShape& shape) {
  return reduce_planes_workspace_bytes({shape.rows, shape.columns, 1});
}

void reduce_columns(const MatrixShape& shape, Reduction reduction, const float* x, float* y, void* workspace,
                    cudaStream_t stream, RowTeam team) {
  reduce_planes({shape.rows, shape.columns, 1}, reduction, x, y, workspace, stream, team);
}

std::size_t reduce_rows_workspace_bytes(const MatrixShape& shape) {
  return rows_are_sliced(shape, RowTeam::automatic) ? reduce_planes_workspace_bytes({1, shape.rows, shape.columns}) : 0;
}

void reduce_rows(const MatrixShape& shape, Reduction reduction, const float* x, float* y, void* workspace,
                 cudaStream_t stream, RowTeam team) {
  require(shape.rows >= 0 && shape.columns >= 0, "reduce_rows: sizes [", shape.rows, ", ", shape.columns,
          "] must not be negative");
  if (shape.rows == 0) return;
  if (rows_are_sliced(shape, team)) {
    return reduce_planes({1, shape.rows, shape.columns}, reduction, x, y, workspace, stream);
  }
  const double scale = scale_of(reduction, shape.columns);
  with_reduction(reduction, [&]<class Of>() {
    with_row_team(shape.columns, team, [&]<int kThreads>() {
      simt::launch(reduce_rows_kernel<kThreads, Of>, team_per_row<kThreads>(shape.rows, stream), shape, scale, x, y);
    });
  });
}

void argmax_rows(const MatrixShape& shape, const float* x, std::int32_t* index, cudaStream_t stream, RowTeam team) {
  require(shape.columns >= 1 && shape.columns <= std::numeric_limits<std::int32_t>::max(),
          "argmax_rows: ", shape.columns, " columns; a row needs between 1 and 2^31 - 1");
  if (shape.rows == 0) return;
  with_row_team(shape.columns, team, [&]<int kThreads>() {
    simt::launch(argmax_rows_kernel<kThreads>, team_per_row<kThreads>(shape.rows, stream), shape, x, index);
  });
}

}  // namespace espalier::kernels
