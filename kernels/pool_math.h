// What a max-pool computes, for pool2d.cu and for convolutions that pool on the way out. For numbers and for lanes.
#pragma once
#include "kernels/simt/simt.h"

namespace espalier::kernels {

// Whether `candidate` replaces `best`: it is larger or the first NaN.
template <class Values>
__device__ inline auto wins(Values candidate, Values best) {
  return (best == best) & ((candidate <= best) == 0);
}

}  // namespace espalier::kernels
