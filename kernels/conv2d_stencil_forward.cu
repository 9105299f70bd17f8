// Forward by stencil (conv2d_stencil.h): with the whole map as its sink, or with what a 2x2 pool leaves of it.
#include "kernels/conv2d_stencil_kernel.h"

namespace espalier::kernels {

void conv2d_forward_stencil(const Conv2dShape& shape, const float* x, const float* w, const float* bias, float* y,
                            float slope, cudaStream_t stream) {
  const StripSink sink(y, shape.out_width(), bias, slope);
  launch_stencil<StencilTurn::no>(stencil_plan(shape, StencilUse::forward), PlaneSource{x}, w, sink, stream);
}

void conv2d_pool_forward_stencil(const Conv2dShape& shape, const float* x, const float* w, const float* bias, float* y,
                                 std::uint8_t* route, float slope, cudaStream_t stream) {
  const bool aligned = reinterpret_cast<std::uintptr_t>(y) % 8 == 0 && shape.out_width() / 2 % 2 == 0;
  const PoolSink sink{{}, y, route, bias, slope, aligned};
  launch_stencil<StencilTurn::no>(stencil_plan(shape, StencilUse::pool), PlaneSource{x}, w, sink, stream);
}

}  // namespace espalier::kernels
