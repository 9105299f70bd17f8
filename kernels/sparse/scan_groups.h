// Offsets of groups whose sizes follow from block CSR counts: what encoders that pad their groups agree on. Device
// code: for .cu files only.
#pragma once
#include "kernels/shapes.h"
#include "kernels/simt/simt.h"

namespace espalier::kernels {

// offsets [groups + 1], offsets[i] = sum of size(j) for j < i, in one block of threads: groups are few beside weights.
// A thread each for a contiguous piece: it adds up what all pieces before hold, then writes its own.
template <class Size>
__global__ void scan_groups_kernel(int groups, Size size, std::int32_t* __restrict__ offsets) {
  auto* totals = simt::dynamic_shared<std::int32_t>();
  const int threads = int(blockDim.x), thread = int(threadIdx.x), piece = (groups + threads - 1) / threads;
  const int begin = piece * thread, end = begin + piece < groups ? begin + piece : groups;
  std::int32_t total = 0;
  for (int group = begin; group < end; ++group) total += size(group);
  totals[thread] = total;
  __syncthreads();
  std::int32_t before = 0;
  for (int i = 0; i < thread; ++i) before += totals[i];
  if (thread == 0) offsets[0] = 0;
  for (int group = begin; group < end; ++group) offsets[group + 1] = before += size(group);
}

template <class Size>
void scan_groups(index_t groups, const Size& size, std::int32_t* offsets, cudaStream_t stream,
                 std::source_location where = std::source_location::current()) {
  const unsigned threads = simt::kContiguousElements ? 1 : 256;
  simt::launch(scan_groups_kernel<Size>, {dim3(1), dim3(threads), threads * sizeof(std::int32_t), stream, where},
               int(groups), size, offsets);
}

}  // namespace espalier::kernels
