// A five-dimensional array into contiguous memory in any order of its axes, its last axis padded with zeros: weights
// for the layouts of tensor cores, which are small, and images whose layout no faster kernel fits. Reads 2 or 4 bytes
// an element, not coalesced where the last axis is not the contiguous one.
#pragma once
#include "kernels/precision.h"
#include "kernels/shapes.h"

namespace espalier::kernels {

struct Repacking {
  index_t sizes[5], strides[5];  // of the source, in elements
  index_t padded = 0;            // the last axis of the result
  constexpr index_t result_size() const { return sizes[0] * sizes[1] * sizes[2] * sizes[3] * padded; }
};

template <class T>
void repack(const Repacking& repacking, const T* x, T* y, cudaStream_t stream);

}  // namespace espalier::kernels
