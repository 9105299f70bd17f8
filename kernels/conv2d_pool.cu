// What all of conv2d_pool.h shares: the checks of a block and the size of what it keeps. Forward, input and weight
// gradient are computed beside those of the plain convolution, by the same kernels with other ends.
#include "kernels/conv2d_pool.h"

#include "kernels/conv2d_gradient.h"
#include "kernels/grid.h"
#include "kernels/require.h"

namespace espalier::kernels {

void require_valid_pool(const Conv2dShape& s, const std::uint8_t* route, Activation activation, float leaky_slope,
                        const char* caller) {
  require_valid(s, caller);
  require(s.out_height() >= 2 && s.out_width() >= 2, caller, ": the convolution's output of ", s.out_height(), " x ",
          s.out_width(), " is smaller than the pool's window of 2 x 2; pad more or leave the pool away");
  const bool straight = activation == Activation::none || activation == Activation::relu ||
                        (activation == Activation::leaky_relu && leaky_slope >= 0.0f);
  require(straight, caller, ": activation ", int(activation), " with slope ", leaky_slope,
          "; a fused block takes none, relu or leaky_relu with a slope of at least 0");
  const std::uintptr_t beyond = reinterpret_cast<std::uintptr_t>(route) % sizeof(std::uint32_t);
  require(beyond == 0, caller, ": the route begins ", beyond,
          " bytes beyond a multiple of 4, but it is whole words; give it a buffer of its own");
}

std::size_t conv2d_pool_route_bytes(const Conv2dShape& shape) {
  const Pool2dShape pool = pool_of(shape);
  return std::size_t(ceil_div<index_t>(pool.planes * route_plane_bytes(pool.out_height() * pool.out_width()), 4) * 4);
}

}  // namespace espalier::kernels
