// A convolution's sizes in device integers, and what an entry of a patch is: the one place that knows their order.
#pragma once
#include "kernels/shapes.h"
#include "kernels/simt/simt.h"

namespace espalier::kernels {

// The one-image side of a Conv2dShape.
struct PatchGeometry {
  int height, width, kernel_height, kernel_width, stride, padding, dilation, out_height, out_width;
  index_t x_image, y_image;  // floats from one image to the next

  explicit PatchGeometry(const Conv2dShape& s)
      : height(int(s.height)),
        width(int(s.width)),
        kernel_height(int(s.kernel_height)),
        kernel_width(int(s.kernel_width)),
        stride(int(s.stride)),
        padding(int(s.padding)),
        dilation(int(s.dilation)),
        out_height(int(s.out_height())),
        out_width(int(s.out_width())),
        x_image(s.channels * s.height * s.width),
        y_image(s.filters * s.out_height() * s.out_width()) {}

  __host__ __device__ index_t x_plane() const { return index_t(height) * width; }
  __host__ __device__ index_t y_plane() const { return index_t(out_height) * out_width; }
};

// Entry (channel * kernel_height + row) * kernel_width + column of a patch.
struct PatchEntry {
  int channel, row, column;

  __host__ __device__ PatchEntry(int entry, int kernel_height, int kernel_width) {
    const unsigned line = unsigned(entry) / unsigned(kernel_width);
    channel = int(line / unsigned(kernel_height));
    row = int(line) - channel * kernel_height;
    column = entry - int(line) * kernel_width;
  }
};

}  // namespace espalier::kernels
