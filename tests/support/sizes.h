// Counts for sweeps over one-dimensional kernels: one, odd, prime, around a warp, a block, and the 4096 elements that
// a thread of the CPU takes; the large one makes every thread of the largest grid take several (CPU only: an emulated
// device is slow, and there a few thousand elements already make threads stride).
#pragma once
#include <vector>

#include "kernels/shapes.h"
#include "kernels/simt/simt.h"

namespace espalier::test {

inline std::vector<kernels::index_t> element_counts() {
  std::vector<kernels::index_t> counts{1,   2,   7,   31,   32,   33,   127,  128,  129,
                                       255, 256, 257, 1021, 4095, 4096, 4097, 20011};
  if (simt::kEmulated) counts.push_back(600011);
  return counts;
}

}  // namespace espalier::test
