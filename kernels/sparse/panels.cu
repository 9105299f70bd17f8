// The transposition behind make_panels(): 32 x 32 squares through shared memory on a GPU, where both sides stay
// coalesced; squares in vector registers on a CPU.
#include "kernels/sparse/panels.h"

#include "kernels/grid.h"
#include "kernels/require.h"

namespace espalier::kernels {
namespace {

constexpr int kSquare = 32, kRowsAtOnce = 8;
constexpr int kFeatures = 256;  // that one CPU thread transposes: its part of the panel stays in the L1 cache

__global__ void make_panels_by_warps_kernel(PanelShape shape, const float* __restrict__ x, float* __restrict__ panels) {
  __shared__ float square[kSquare][kSquare + 1];  // the odd pitch spreads a column over all banks
  const index_t sample = index_t(blockIdx.y) * kSquare, feature = index_t(blockIdx.x) * kSquare;
  for (int i = int(threadIdx.y); i < kSquare; i += kRowsAtOnce) {
    const index_t from = sample + i, column = feature + threadIdx.x;
    const bool inside = from < shape.batch && column < shape.features;
    square[i][threadIdx.x] = inside ? x[from * shape.features + column] : 0.0f;
  }
  __syncthreads();
  const index_t panel = sample / shape.width, first = sample % shape.width;
  for (int i = int(threadIdx.y); i < kSquare && feature + i < shape.features; i += kRowsAtOnce) {
    panels[(panel * shape.features + feature + i) * shape.width + first + threadIdx.x] = square[threadIdx.x][i];
  }
}

template <int kRun>
__global__ void make_panels_by_threads_kernel(PanelShape shape, const float* __restrict__ x,
                                              float* __restrict__ panels) {
  const index_t sample = index_t(blockIdx.y) * shape.width, feature = index_t(blockIdx.x) * kRun;
  const int samples = int(shape.batch - sample < shape.width ? shape.batch - sample : shape.width);
  const int features = int(shape.features - feature < kRun ? shape.features - feature : kRun);
  const int width = int(shape.width);
  float* to = panels + (index_t(blockIdx.y) * shape.features + feature) * shape.width;
  simt::transpose(x + sample * shape.features + feature, shape.features, samples, features, to, width);
  if (samples == width) return;
  for (int i = 0; i < features; ++i) {
    for (int j = samples; j < width; ++j) to[i * width + j] = 0.0f;
  }
}

}  // namespace

void make_panels(const PanelShape& shape, const float* x, float* panels, SparseTeam team, cudaStream_t stream) {
  require(shape.width % team_width(team) == 0, "make_panels: width is ", shape.width, "; it must be a multiple of ",
          team_width(team));
  require(shape.panels() * (shape.width / kSquare + 1) <= kMaxGridYZ, "make_panels: a batch of ", shape.batch,
          " is too large; split it");
  with_team(team, [&](auto chosen) {
    if constexpr (decltype(chosen)::kLanes == 32) {
      const index_t squares = shape.panels() * (shape.width / kSquare);
      simt::launch(make_panels_by_warps_kernel,
                   {dim3(unsigned(ceil_div<index_t>(shape.features, kSquare)), unsigned(squares)),
                    dim3(kSquare, kRowsAtOnce), 0, stream},
                   shape, x, panels);
    } else {
      simt::launch(
          make_panels_by_threads_kernel<kFeatures>,
          {dim3(unsigned(ceil_div<index_t>(shape.features, kFeatures)), unsigned(shape.panels())), dim3(1), 0, stream},
          shape, x, panels);
    }
  });
}

}  // namespace espalier::kernels
