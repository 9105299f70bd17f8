// The input gradient by stencil (conv2d_stencil.h): a convolution of the output's gradient with the weights turned by
// 180 degrees, filters and channels swapped, padded by what the kernel reaches beyond the forward padding.
#include "kernels/conv2d_stencil_kernel.h"

namespace espalier::kernels {
namespace {

template <class Source>
void backward_input(const Conv2dShape& shape, const Source& source, const float* w, float* dx, cudaStream_t stream) {
  const StripSink sink(dx, shape.width);
  launch_stencil<StencilTurn::yes>(stencil_plan(shape, StencilUse::input_gradient), source, w, sink, stream);
}

}  // namespace

void conv2d_backward_input_stencil(const Conv2dShape& shape, const float* dy, const float* w, float* dx,
                                   cudaStream_t stream) {
  backward_input(shape, PlaneSource{dy}, w, dx, stream);
}

void conv2d_pool_backward_input_stencil(const Conv2dShape& shape, const PooledGradient& dy, const float* w, float* dx,
                                        cudaStream_t stream) {
  backward_input(shape, WindowSource{dy}, w, dx, stream);
}

}  // namespace espalier::kernels
