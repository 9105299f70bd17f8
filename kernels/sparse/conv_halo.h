// What the outputs of a convolution see of the image beyond their own extent.
#pragma once
#include "kernels/shapes.h"

namespace espalier::kernels {

struct ConvHalo {
  explicit ConvHalo(const Conv2dShape& shape)
      : reach_y(shape.dilation * (shape.kernel_height - 1)),
        reach_x(shape.dilation * (shape.kernel_width - 1)),
        rows(reach_y / shape.stride),
        columns(reach_x / shape.stride) {}
  index_t reach_y, reach_x, rows, columns;  // in pixels; in the steps of a phase
};

}  // namespace espalier::kernels
