// What all of conv2d.h shares: the checks of a shape, and the bias gradient on its own (a sum over planes).
#include "kernels/conv2d.h"

#include "kernels/grid.h"
#include "kernels/reduce.h"
#include "kernels/require.h"

namespace espalier::kernels {

void require_valid(const Conv2dShape& s, const char* caller) {
  require(s.batch > 0 && s.channels > 0 && s.height > 0 && s.width > 0, caller, ": x is [", s.batch, ", ", s.channels,
          ", ", s.height, ", ", s.width, "]; every size must be at least 1");
  require(s.filters > 0 && s.kernel_height > 0 && s.kernel_width > 0, caller, ": ", s.filters, " filters of ",
          s.kernel_height, " x ", s.kernel_width, "; every size must be at least 1");
  require(s.stride > 0 && s.dilation > 0 && s.padding >= 0 && s.groups > 0, caller, ": stride ", s.stride,
          ", dilation ", s.dilation, ", padding ", s.padding, ", groups ", s.groups,
          "; stride, dilation and groups must be at least 1, padding at least 0");
  require(s.channels % s.groups == 0 && s.filters % s.groups == 0, caller, ": ", s.groups, " groups do not divide ",
          s.channels, " channels and ", s.filters, " filters");
  require(s.height + 2 * s.padding > s.dilation * (s.kernel_height - 1) &&
              s.width + 2 * s.padding > s.dilation * (s.kernel_width - 1),
          caller, ": a kernel of ", s.kernel_height, " x ", s.kernel_width, " with dilation ", s.dilation,
          " does not fit into an image of ", s.height, " x ", s.width, " with padding ", s.padding,
          "; pad more or take a smaller kernel");
  constexpr index_t most = index_t(1) << 30;  // offsets inside an image are 32-bit
  require(s.channels * s.height * s.width < most && s.filters * s.out_height() * s.out_width() < most &&
              s.weight_size() < most,
          caller, ": an image of [", s.channels, ", ", s.height, ", ", s.width, "] or its output has over ", most,
          " elements; cut the image");
}

void conv2d_backward_bias(const Conv2dShape& shape, const float* dy, float* db, void* workspace, cudaStream_t stream) {
  require_valid(shape, "conv2d_backward_bias");
  reduce_planes({shape.batch, shape.filters, shape.out_height() * shape.out_width()}, Reduction::sum, dy, db, workspace,
                stream);
}

std::size_t conv2d_backward_bias_workspace_bytes(const Conv2dShape& shape) {
  return reduce_planes_workspace_bytes({shape.batch, shape.filters, shape.out_height() * shape.out_width()});
}

}  // namespace espalier::kernels
