// Layer normalisation: one team per row, parameter gradients down the columns; algorithm and cost in layer_norm.h.
#include "kernels/layer_norm.h"

#include "kernels/planes.h"

namespace espalier::kernels {
namespace {

template <int kThreads>
__global__ void layer_norm_forward_kernel(MatrixShape shape, float epsilon, const float* __restrict__ input,
                                          const float* __restrict__ gamma, const float* __restrict__ beta,
                                          float* __restrict__ output, RowStatistics statistics) {
  using Rows = Team<kThreads>;
  const index_t row = team_row<kThreads>(), columns = row < shape.rows ? shape.columns : 0;
  const float* x = input + row * shape.columns;
  float* y = output + row * shape.columns;
  const float inverse_columns = 1.0f / float(shape.columns);
  const float first = columns > 0 ? x[0] : 0.0f;  // as deviations from it, errors are relative to the spread
  const float shift = Rows::sum(0, columns, [&](index_t i) { return x[i] - first; }) * inverse_columns;
  const float variance = inverse_columns * Rows::sum(0, columns, [&](index_t i) {
                           const float deviation = x[i] - first - shift;
                           return deviation * deviation;
                         });
  const float mean = first + shift;
  const float inverse = 1.0f / sqrtf(variance + epsilon);
  Rows::for_each(0, columns, [&](index_t i) { y[i] = (x[i] - mean) * inverse * gamma[i] + beta[i]; });
  if (row < shape.rows && Rows::leads()) {
    statistics.mean[row] = mean;
    statistics.inverse_deviation[row] = inverse;
  }
}

// dx = inverse * (g - mean(g) - n * mean(g * n)), g = dy * gamma, n = normalised x.
template <int kThreads>
__global__ void layer_norm_input_gradient_kernel(MatrixShape shape, const float* __restrict__ input,
                                                 const float* __restrict__ gamma, RowStatistics statistics,
                                                 const float* __restrict__ output_gradient,
                                                 float* __restrict__ gradient) {
  using Rows = Team<kThreads>;
  const index_t row = team_row<kThreads>(), columns = row < shape.rows ? shape.columns : 0;
  const float *x = input + row * shape.columns, *dy = output_gradient + row * shape.columns;
  float* dx = gradient + row * shape.columns;
  const float mean = columns > 0 ? statistics.mean[row] : 0.0f;
  const float inverse = columns > 0 ? statistics.inverse_deviation[row] : 0.0f;
  const float scale = 1.0f / float(shape.columns);
  const float mean_g = scale * Rows::sum(0, columns, [&](index_t i) { return dy[i] * gamma[i]; });
  const float slope =
      scale * inverse * inverse * Rows::sum(0, columns, [&](index_t i) { return dy[i] * gamma[i] * (x[i] - mean); });
  Rows::for_each(0, columns, [&](index_t i) { dx[i] = inverse * (dy[i] * gamma[i] - mean_g - (x[i] - mean) * slope); });
}

// partial [slices, 2, columns]: sums over the slice's rows of dy * normalised x and of dy.
template <class Reader>
__global__ void layer_norm_parameter_gradients_kernel(PlanesShape shape, ChannelGrid grid, const float* __restrict__ x,
                                                      RowStatistics statistics, const float* __restrict__ dy,
                                                      double* __restrict__ partial) {
  const Reader reader(shape, grid);
  float products[Reader::kChannels], sums[Reader::kChannels];
  reader.sum(products, [&](index_t i, index_t row, int) {
    return dy[i] * ((x[i] - statistics.mean[row]) * statistics.inverse_deviation[row]);
  });
  reader.sum(sums, [&](index_t i, index_t, int) { return dy[i]; });
  double* of_slice = partial + 2 * grid.slice() * shape.channels;
  reader.for_each_channel([&](index_t column, int p) {
    of_slice[column] = products[p];
    of_slice[shape.channels + column] = sums[p];
  });
}

void check(const char* launcher, const MatrixShape& shape) {
  require(shape.rows >= 1 && shape.columns >= 1, launcher, ": sizes [", shape.rows, ", ", shape.columns,
          "] must be positive");
}

}  // namespace

void layer_norm_forward(const MatrixShape& shape, float epsilon, const float* x, const Affine& affine, float* y,
                        const RowStatistics& statistics, cudaStream_t stream, RowTeam team) {
  check("layer_norm_forward", shape);
  with_row_team(shape.columns, team, [&]<int kThreads>() {
    simt::launch(layer_norm_forward_kernel<kThreads>, team_per_row<kThreads>(shape.rows, stream), shape, epsilon, x,
                 affine.gamma, affine.beta, y, statistics);
  });
}

std::size_t layer_norm_workspace_bytes(const MatrixShape& shape) {
  return channel_workspace_bytes({shape.rows, shape.columns, 1}, 2);
}

void layer_norm_backward(const MatrixShape& shape, const float* x, const float* gamma, const RowStatistics& statistics,
                         const float* dy, const NormGradients& gradients, void* workspace, cudaStream_t stream,
                         RowTeam team) {
  check("layer_norm_backward", shape);
  with_row_team(shape.columns, team, [&]<int kThreads>() {
    simt::launch(layer_norm_input_gradient_kernel<kThreads>, team_per_row<kThreads>(shape.rows, stream), shape, x,
                 gamma, statistics, dy, gradients.dx);
  });
  auto* partial = static_cast<double*>(workspace);
  const PlanesShape columns{shape.rows, shape.columns, 1};
  const RowTeam down = team == RowTeam::automatic || team == RowTeam::thread ? team : RowTeam::block;
  with_channel_reader(columns, down, [&]<class Reader>(const ChannelGrid& grid) {
    simt::launch(layer_norm_parameter_gradients_kernel<Reader>, grid.launch(stream), columns, grid, x, statistics, dy,
                 partial);
    combine_slices({shape.columns, grid.slices, partial, 1.0, {gradients.dgamma, gradients.dbeta}}, stream);
  });
}

}  // namespace espalier::kernels
