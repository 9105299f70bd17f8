// What both gathers do around their pixels: find out where the batch begins, say which samples it has, and move the
// cursor on when all is read.
// Device code: for .cu files only.
#pragma once
#include "kernels/gather.h"
#include "kernels/last_block.h"

namespace espalier::kernels {

struct BatchPlace {
  std::int64_t first;
  std::uint64_t epoch;

  __device__ explicit BatchPlace(const SampleSource& source)
      : first(source.cursor == nullptr ? source.first : source.cursor->first),
        epoch(source.cursor == nullptr ? source.epoch : source.cursor->epoch) {}

  // Once by all threads, after their last use of the source.
  __device__ void leave(const SampleSource& source, index_t batch) const {
    if (source.cursor == nullptr || !is_last_block(&source.cursor->finished_blocks, gridDim.x * gridDim.y)) return;
    if (threadIdx.x == 0 && threadIdx.y == 0) source.cursor->first = first + batch;
  }
};

// By one thread of those that write image n.
__device__ inline void name_sample(const SampleSource& source, const BatchOutputs& batch, index_t n, index_t sample) {
  batch.labels[n] = source.labels[sample];
  if (batch.samples != nullptr) batch.samples[n] = std::int32_t(sample);
}

}  // namespace espalier::kernels
