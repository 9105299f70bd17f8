// Mean squared error and its gradient in one pass; cost in squared_error.h.
#include "kernels/squared_error.h"

#include "kernels/planes.h"

namespace espalier::kernels {
namespace {

template <class Reader>
__global__ void mean_squared_error_kernel(PlanesShape shape, ChannelGrid grid, float slope,
                                          const float* __restrict__ prediction, const float* __restrict__ target,
                                          float* __restrict__ dprediction, double* __restrict__ partial) {
  const Reader reader(shape, grid);
  float squares[Reader::kChannels];
  if (dprediction == nullptr) {
    reader.sum(squares, [&](index_t i, index_t, int) {
      const float difference = prediction[i] - target[i];
      return difference * difference;
    });
  } else {
    reader.sum(squares, [&](index_t i, index_t, int) {
      const float difference = prediction[i] - target[i];
      dprediction[i] = slope * difference;
      return difference * difference;
    });
  }
  reader.for_each_channel([&](index_t, int p) { partial[grid.slice()] = squares[p]; });
}

__global__ void scale_unit_gradient_kernel(index_t count, const float* __restrict__ unit_gradient,
                                           const float* __restrict__ dloss, float* __restrict__ gradient) {
  const float factor = *dloss;
  for_each_element(count, [&](index_t i) { gradient[i] = factor * unit_gradient[i]; });
}

}  // namespace

std::size_t mean_squared_error_workspace_bytes(index_t count) { return channel_workspace_bytes({1, 1, count}, 1); }

void mean_squared_error(index_t count, const float* prediction, const float* target, float* loss, float* dprediction,
                        void* workspace, cudaStream_t stream, RowTeam team) {
  require(count >= 1, "mean_squared_error: a mean over ", count, " elements is not defined");
  const PlanesShape shape{1, 1, count};
  auto* partial = static_cast<double*>(workspace);
  with_channel_reader(shape, team, [&]<class Reader>(const ChannelGrid& grid) {
    simt::launch(mean_squared_error_kernel<Reader>, grid.launch(stream), shape, grid, float(2.0 / double(count)),
                 prediction, target, dprediction, partial);
    combine_slices({1, grid.slices, partial, 1.0 / double(count), {loss, nullptr}}, stream);
  });
}

void scale_unit_gradient(index_t count, const float* unit_gradient, const float* dloss, float* gradient,
                         cudaStream_t stream) {
  if (count == 0) return;
  simt::launch(scale_unit_gradient_kernel, elements_grid(count, stream), count, unit_gradient, dloss, gradient);
}

}  // namespace espalier::kernels
