// The block that finishes last: it alone may do what needs all blocks of a launch to be done, so that a sum or a
// counter costs no second launch. Whoever is last does the same work in the same order, so results do not depend on it.
// Cost: one atomic per block. CUDA C++ Programming Guide, "Memory Fence Functions" (the sum over an array).
// Device code: for .cu files only.
#pragma once
#include <cstdint>

#include "kernels/simt/simt.h"

namespace espalier::kernels {

// True in all threads of the last of `blocks` blocks to call it; what the others wrote before is then visible to it.
// `arrived` is 0 to begin with and again afterwards. All threads of every block must call it.
__device__ inline bool is_last_block(unsigned* arrived, unsigned blocks) {
  __shared__ bool last;
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0 && threadIdx.y == 0) last = atomicInc(arrived, blocks - 1) == blocks - 1;
  __syncthreads();
  __threadfence();
  return last;
}

}  // namespace espalier::kernels
