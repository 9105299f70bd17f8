// The input gradient of a 1x1 kernel, of any stride, without padding: of each stride x stride cell of dx the first
// element is a product, dx [channels, pixels of dy] = w' [channels, filters] * dy, and the rest are zeros, written
// along with it. By conv2d_tiles.h each phase would be a product of its own, all but one of zeros.
#pragma once
#include "kernels/shapes.h"
#include "kernels/simt/simt.h"

namespace espalier::kernels {

inline bool suits_point(const Conv2dShape& shape) {
  return shape.kernel_height == 1 && shape.kernel_width == 1 && shape.padding == 0;
}

void conv2d_backward_input_point(const Conv2dShape& shape, const float* dy, const float* w, float* dx,
                                 cudaStream_t stream);

}  // namespace espalier::kernels
