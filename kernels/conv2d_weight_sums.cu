// A block sums some channels of a filter, all taps: lanes read neighbouring channels, and where taps are the neighbours
// in dw they are turned over in shared memory, as in M. Harris, "An Efficient Matrix Transpose in CUDA C/C++".
#include "kernels/conv2d_weight_sums.h"

namespace espalier::kernels {
namespace {

constexpr int kSums = 2048;  // of a block

// So many channels, a power of two, that a block holds them for all taps, of which there are 256 at most.
unsigned block_channels(unsigned channels, unsigned taps) {
  unsigned count = kSums / 256;
  while (count < channels && 2 * count * taps <= unsigned(kSums)) count *= 2;
  return count;
}

__global__ void weight_sums_kernel(WeightPlaces to, unsigned taps, unsigned together, index_t splits, index_t plane,
                                   const float* sums) {
  __shared__ float turned[kSums];
  const unsigned parts = (to.channels + together - 1) / together, first = blockIdx.x % parts * together;
  const index_t filter = blockIdx.x / parts;
  const unsigned channels = to.channels - first < together ? to.channels - first : together;
  const bool turns = to.tap == 1;
  float* dw = to.dw + filter * to.filter + first * to.channel;
  for (unsigned i = threadIdx.x; i < together * taps; i += blockDim.x) {
    const unsigned tap = i / together, channel = i % together;
    if (channel >= channels) continue;
    const float* from = sums + filter * to.columns + tap * to.padded + first + channel;
    float sum = 0.0f;
    for (index_t split = 0; split < splits; ++split, from += plane) sum += *from;
    if (turns) {
      turned[channel * taps + tap] = sum;
    } else {
      dw[tap * to.tap + channel * to.channel] = sum;
    }
  }
  __syncthreads();
  if (!turns) return;
  for (unsigned i = threadIdx.x; i < channels * taps; i += blockDim.x) dw[i] = turned[i];
}

}  // namespace

void weight_sums(const WeightPlaces& to, index_t filters, index_t splits, const float* sums, cudaStream_t stream) {
  const unsigned together = block_channels(to.channels, to.taps());
  const dim3 grid(unsigned(filters * ceil_div(to.channels, together)));
  simt::launch(weight_sums_kernel, {.grid = grid, .block = dim3(256), .stream = stream}, to, to.taps(), together,
               splits, filters * to.columns, sums);
}

}  // namespace espalier::kernels
