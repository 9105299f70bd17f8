// The weights of conv2d_winograd.h transformed: u = G g G'. 9 floats read and 36 written for each pair of channel and
// filter; a block turns them by way of shared memory, so that both sides are whole sectors.
#include "kernels/conv2d_winograd_steps.h"
#include "kernels/grid.h"

namespace espalier::kernels {
namespace {

constexpr int kIn = kWinogradInputs;

// G g
__device__ inline void transform_weights(const float (&g)[3], float (&u)[kIn]) {
  const float outer = (g[0] + g[2]) / -6.0f, middle = g[1] / 6.0f;
  const float spread = g[0] / 24.0f + g[2] / 6.0f, centre = g[1] / 12.0f;
  u[0] = 0.25f * g[0];
  u[1] = outer - middle;
  u[2] = outer + middle;
  u[3] = spread + centre;
  u[4] = spread - centre;
  u[5] = g[2];
}

// A block turns 32 filters by 8 channels: as w lies in memory that is rows of neighbouring floats, of a filter each or,
// where the product's filters are w's channels, of a channel each.
constexpr int kWeightFilters = 32, kWeightChannels = 8, kTaps = 9, kWeightThreads = kWeightFilters * kWeightChannels;

struct WeightView {
  const float* w;
  int filters, channels;  // of the product
  index_t pitch;          // of u
};

// Which weights a block has in shared memory, as they lie in memory.
template <WinogradUse kUse>
struct WeightBlock {
  static constexpr bool kTurned = kUse == WinogradUse::input_gradient;
  static constexpr int kRows = kTurned ? kWeightChannels : kWeightFilters, kRow = kWeightThreads * kTaps / kRows;
  // A float is left out after each run of so many, whole warps: lanes store without conflicts. Of 4 filters, a quarter
  // of the banks apart, or of 32, 9 banks apart: lanes with the same tap of 32 filters read without conflicts, too.
  static constexpr int kRun = 4 * 8 * kTaps, kFloats = kRows * kRow / kRun * (kRun + 1);
  int filter = int(blockIdx.x) * kWeightFilters, channel = int(blockIdx.y) * kWeightChannels;  // the first

  __device__ void load(const WeightView& of, float* shared) const {
    const int rows = kTurned ? of.channels - channel : of.filters - filter;
    const int row_end = kTaps * (kTurned ? of.filters - filter : of.channels - channel);
    const index_t stride = index_t(kTaps) * (kTurned ? of.filters : of.channels);
    const float* from = of.w + (kTurned ? channel : filter) * stride + kTaps * (kTurned ? filter : channel);
    for (int i = int(threadIdx.x); i < kRows * kRow; i += kWeightThreads) {
      const int row = i / kRow, column = i - row * kRow;
      shared[i + row / (kRun / kRow)] = row < rows && column < row_end ? from[row * stride + column] : 0.0f;
    }
  }
  __device__ static float tap(const float* shared, int filter, int channel, int i) {
    const int first = kTurned ? channel * (kRun + 1) + filter * kTaps : filter * kRow + filter / 4 + channel * kTaps;
    return shared[first + (kTurned ? kTaps - 1 - i : i)];
  }
};

template <WinogradUse kUse>
__global__ void __launch_bounds__(kWeightThreads) winograd_weights_kernel(WeightView of, float* __restrict__ u) {
  using Block = WeightBlock<kUse>;
  __shared__ float weights[Block::kFloats];
  const Block block;
  block.load(of, weights);
  __syncthreads();
  const int filter = int(threadIdx.x) % kWeightFilters, channel = int(threadIdx.x) / kWeightFilters;
  if (block.channel + channel >= of.channels) return;
  float half[3][kIn];  // of each column
#pragma unroll
  for (int column = 0; column < 3; ++column) {
    float g[3];
#pragma unroll
    for (int row = 0; row < 3; ++row) g[row] = Block::tap(weights, filter, channel, row * 3 + column);
    transform_weights(g, half[column]);
  }
  const index_t plane = of.channels * of.pitch;
  float* to = u + (block.channel + channel) * of.pitch + block.filter + filter;
#pragma unroll
  for (int row = 0; row < kIn; ++row) {
    const float g[3] = {half[0][row], half[1][row], half[2][row]};
    float whole[kIn];
    transform_weights(g, whole);
#pragma unroll
    for (int column = 0; column < kIn; ++column, to += plane) *to = whole[column];
  }
}

}  // namespace

void winograd_weights(const WinogradProblem& p, const float* w, float* u, cudaStream_t stream) {
  const WeightView view{w, int(p.filters), int(p.channels), winograd_pitch(p.filters)};
  const simt::Launch launch{
      dim3(unsigned(view.pitch / kWeightFilters), unsigned(ceil_div<index_t>(p.channels, kWeightChannels))),
      dim3(kWeightThreads), 0, stream};
  if (p.use == WinogradUse::forward) {
    simt::launch(winograd_weights_kernel<WinogradUse::forward>, launch, view, u);
  } else {
    simt::launch(winograd_weights_kernel<WinogradUse::input_gradient>, launch, view, u);
  }
}

}  // namespace espalier::kernels
