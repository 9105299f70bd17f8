// Each thread sums a contiguous piece, the block sums the pieces' totals by doubling distances (Hillis and Steele, Data
// Parallel Algorithms, 1986), each thread walks its piece again.
#include "kernels/sparse/running_sum.h"

namespace espalier::kernels {
namespace {

constexpr int kScanThreads = simt::kContiguousElements ? 1 : 256;

__global__ void running_sum_kernel(int count, std::int32_t* values) {
  __shared__ std::int32_t totals[kScanThreads];
  const int piece = (count + kScanThreads - 1) / kScanThreads, thread = int(threadIdx.x);
  const int begin = piece * thread, end = begin + piece < count ? begin + piece : count;
  std::int32_t total = 0;
  for (int i = begin; i < end; ++i) total += values[i];
  totals[thread] = total;
  for (int distance = 1; distance < kScanThreads; distance *= 2) {
    __syncthreads();
    const std::int32_t earlier = thread >= distance ? totals[thread - distance] : 0;
    __syncthreads();
    totals[thread] += earlier;
  }
  std::int32_t running = totals[thread] - total;
  for (int i = begin; i < end; ++i) values[i] = running += values[i];
}

}  // namespace

void running_sum(int count, std::int32_t* values, cudaStream_t stream) {
  simt::launch(running_sum_kernel, {dim3(1), dim3(kScanThreads), 0, stream}, count, values);
}

}  // namespace espalier::kernels
