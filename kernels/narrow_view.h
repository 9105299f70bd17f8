// A matrix operand whose elements are floats or 16 bits wide.
#pragma once
#include "kernels/shapes.h"
#include "kernels/simt/half.h"

namespace espalier::kernels {

// `width` rows (A) or columns (B) of k elements; `leading` elements between rows as they lie in memory.
template <class T>
struct NarrowView {
  const T* data = nullptr;
  index_t leading = 0, width = 0;
  bool aligned = false;      // every row begins at a multiple of 16 bytes
  index_t batch_stride = 0;  // elements from one product of a batch to the next
};

}  // namespace espalier::kernels
