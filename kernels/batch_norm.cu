// Batch normalisation: slice moments, their merger, and two elementwise passes; algorithm and cost in batch_norm.h.
#include "kernels/batch_norm.h"

#include "kernels/planes.h"

namespace espalier::kernels {
namespace {

// partial [slices, 2, channels]: mean and sum of squared deviations from it, over each slice. The mean is summed as
// deviations from the slice's first element: rounding errors are then relative to the spread, not to the mean.
template <class Reader>
__global__ void batch_norm_moments_kernel(PlanesShape shape, ChannelGrid grid, const float* __restrict__ x,
                                          double* __restrict__ partial) {
  const Reader reader(shape, grid);
  float shift[Reader::kChannels], sum[Reader::kChannels], squares[Reader::kChannels];
  for (int p = 0; p < Reader::kChannels; ++p) {
    shift[p] = reader.channel_of(p) < shape.channels ? x[reader.first_element(p)] : 0.0f;
  }
  reader.sum(sum, [&](index_t i, index_t, int p) { return x[i] - shift[p]; });
  const float inverse_count = 1.0f / float(reader.count());
  float mean_shift[Reader::kChannels];
  for (int p = 0; p < Reader::kChannels; ++p) mean_shift[p] = sum[p] * inverse_count;
  reader.sum(squares, [&](index_t i, index_t, int p) {
    const float deviation = x[i] - shift[p] - mean_shift[p];
    return deviation * deviation;
  });
  double* of_slice = partial + 2 * grid.slice() * shape.channels;
  reader.for_each_channel([&](index_t channel, int p) {
    of_slice[channel] = double(shift[p]) + double(sum[p]) / double(reader.count());
    of_slice[shape.channels + channel] = squares[p];
  });
}

// Merges the slices: mean = sum n_s mean_s / n, squares = sum squares_s + n_s (mean_s - mean)^2, all in double.
template <int kThreads>
__global__ void batch_norm_statistics_kernel(PlanesShape shape, ChannelGrid grid, float epsilon,
                                             const double* __restrict__ partial, BatchStatistics statistics,
                                             RunningStatistics running) {
  using Rows = Team<kThreads>;
  const index_t channel = team_row<kThreads>(), channels = shape.channels, total = shape.per_channel();
  const index_t slices = channel < channels ? index_t(grid.slices) : 0;
  const auto count = [&](index_t slice) {
    const index_t left = total - slice * grid.length;
    return double(left < grid.length ? left : grid.length);
  };
  double mean = 0, squares = 0;
  Rows::for_each(0, slices, [&](index_t slice) { mean += count(slice) * partial[2 * slice * channels + channel]; });
  mean = Rows::reduce(mean, Sum()) / double(total);
  Rows::for_each(0, slices, [&](index_t slice) {
    const double shift = partial[2 * slice * channels + channel] - mean;
    squares += partial[(2 * slice + 1) * channels + channel] + count(slice) * shift * shift;
  });
  squares = Rows::reduce(squares, Sum());
  if (channel >= channels || !Rows::leads()) return;
  statistics.mean[channel] = float(mean);
  statistics.inverse_deviation[channel] = float(1.0 / sqrt(squares / double(total) + double(epsilon)));
  if (running.mean == nullptr) return;
  const float momentum = running.momentum, unbiased = float(squares / double(total - 1));
  running.mean[channel] += momentum * (float(mean) - running.mean[channel]);
  running.variance[channel] += momentum * (unbiased - running.variance[channel]);
}

struct Normalisation {  // of one channel: y = (x - mean) * scale + shift
  float mean, scale, shift;
};

__global__ void batch_norm_apply_kernel(PlanesShape shape, const float* __restrict__ x, Affine affine,
                                        BatchStatistics statistics, float* __restrict__ y) {
  for_each_plane_element(
      shape,
      [&](index_t c) {
        return Normalisation{statistics.mean[c], statistics.inverse_deviation[c] * affine.gamma[c], affine.beta[c]};
      },
      [&](index_t i, const Normalisation& of) { y[i] = (x[i] - of.mean) * of.scale + of.shift; });
}

__global__ void batch_norm_use_running_kernel(index_t channels, float epsilon, RunningStatistics running,
                                              BatchStatistics statistics) {
  for_each_element(channels, [&](index_t c) {
    statistics.mean[c] = running.mean[c];
    statistics.inverse_deviation[c] = 1.0f / sqrtf(running.variance[c] + epsilon);
  });
}

// partial [slices, 2, channels]: sums of dy * normalised x and of dy.
template <class Reader>
__global__ void batch_norm_gradient_sums_kernel(PlanesShape shape, ChannelGrid grid, const float* __restrict__ x,
                                                const float* __restrict__ dy, BatchStatistics statistics,
                                                double* __restrict__ partial) {
  const Reader reader(shape, grid);
  float mean[Reader::kChannels], products[Reader::kChannels], sums[Reader::kChannels];
  for (int p = 0; p < Reader::kChannels; ++p) {
    mean[p] = reader.channel_of(p) < shape.channels ? statistics.mean[reader.channel_of(p)] : 0.0f;
  }
  reader.sum(products, [&](index_t i, index_t, int p) { return dy[i] * (x[i] - mean[p]); });
  reader.sum(sums, [&](index_t i, index_t, int) { return dy[i]; });
  double* of_slice = partial + 2 * grid.slice() * shape.channels;
  reader.for_each_channel([&](index_t channel, int p) {
    of_slice[channel] = double(products[p]) * double(statistics.inverse_deviation[channel]);
    of_slice[shape.channels + channel] = sums[p];
  });
}

struct InputGradient {  // of one channel: dx = scale * (dy - mean_dy - (x - mean) * slope)
  float mean, scale, mean_dy, slope;
};

__global__ void batch_norm_input_gradient_kernel(PlanesShape shape, float inverse_count, const float* __restrict__ x,
                                                 const float* __restrict__ dy, const float* __restrict__ gamma,
                                                 BatchStatistics statistics, NormGradients gradients) {
  float* __restrict__ dx = gradients.dx;
  for_each_plane_element(
      shape,
      [&](index_t c) {
        const float inverse = statistics.inverse_deviation[c];
        return InputGradient{statistics.mean[c], gamma[c] * inverse, gradients.dbeta[c] * inverse_count,
                             gradients.dgamma[c] * inverse_count * inverse};
      },
      [&](index_t i, const InputGradient& of) {
        dx[i] = of.scale * (dy[i] - of.mean_dy - (x[i] - of.mean) * of.slope);
      });
}

void check(const char* launcher, const PlanesShape& shape) {
  require(shape.batch >= 1 && shape.channels >= 1 && shape.area >= 1, launcher, ": sizes [", shape.batch, ", ",
          shape.channels, ", ", shape.area, "] must be positive");
}

}  // namespace

std::size_t batch_norm_workspace_bytes(const PlanesShape& shape) {
  return channel_workspace_bytes(merge_single_channel(shape), 2);
}

void batch_norm_forward_training(const PlanesShape& shape, float epsilon, const float* x, const Affine& affine,
                                 float* y, const BatchStatistics& statistics, const RunningStatistics& running,
                                 void* workspace, cudaStream_t stream, RowTeam team) {
  check("batch_norm_forward_training", shape);
  require(shape.per_channel() > 1, "batch_norm_forward_training: one value per channel has no variance; ",
          "use a batch of at least 2 or inference mode");
  auto* partial = static_cast<double*>(workspace);
  const PlanesShape of = merge_single_channel(shape);
  with_channel_reader(of, team, [&]<class Reader>(const ChannelGrid& grid) {
    constexpr int kThreads = simt::kEmulated ? 1 : kWarp;
    simt::launch(batch_norm_moments_kernel<Reader>, grid.launch(stream), of, grid, x, partial);
    simt::launch(batch_norm_statistics_kernel<kThreads>, team_per_row<kThreads>(of.channels, stream), of, grid, epsilon,
                 partial, statistics, running);
  });
  simt::launch(batch_norm_apply_kernel, elements_grid(of.size(), stream), of, x, affine, statistics, y);
}

void batch_norm_use_running(index_t channels, float epsilon, const RunningStatistics& running,
                            const BatchStatistics& statistics, cudaStream_t stream) {
  require(channels >= 1, "batch_norm_use_running: ", channels, " channels; at least one is needed");
  simt::launch(batch_norm_use_running_kernel, elements_grid(channels, stream), channels, epsilon, running, statistics);
}

void batch_norm_forward_inference(const PlanesShape& shape, const float* x, const Affine& affine,
                                  const BatchStatistics& statistics, float* y, cudaStream_t stream) {
  check("batch_norm_forward_inference", shape);
  simt::launch(batch_norm_apply_kernel, elements_grid(shape.size(), stream), shape, x, affine, statistics, y);
}

void batch_norm_backward(const PlanesShape& shape, StatisticsKind kind, const float* x, const float* gamma,
                         const BatchStatistics& statistics, const float* dy, const NormGradients& gradients,
                         void* workspace, cudaStream_t stream, RowTeam team) {
  check("batch_norm_backward", shape);
  auto* partial = static_cast<double*>(workspace);
  const PlanesShape of = merge_single_channel(shape);
  with_channel_reader(of, team, [&]<class Reader>(const ChannelGrid& grid) {
    simt::launch(batch_norm_gradient_sums_kernel<Reader>, grid.launch(stream), of, grid, x, dy, statistics, partial);
    combine_slices({of.channels, grid.slices, partial, 1.0, {gradients.dgamma, gradients.dbeta}}, stream);
  });
  const float inverse_count = kind == StatisticsKind::of_batch ? 1.0f / float(of.per_channel()) : 0.0f;
  simt::launch(batch_norm_input_gradient_kernel, elements_grid(of.size(), stream), of, inverse_count, x, dy, gamma,
               statistics, gradients);
}

}  // namespace espalier::kernels
