// The input gradient by stencil (conv2d_stencil.h): a convolution of the output's gradient with the weights turned by
// 180 degrees, filters and channels swapped, padded by what the kernel reaches beyond the forward padding. Further
// blocks may add the parts of the weight gradient.
#include "kernels/conv2d_stencil_kernel.h"

namespace espalier::kernels {
namespace {

struct StripAndSumSink : StripSink {
  static constexpr bool kStrides = false;

  StripAndSumSink(float* dx, index_t width, const WeightParts& parts) : StripSink(dx, width), sum{parts} {}

  JoinedSum sum;

  simt::Launch join(const simt::Launch& launch) const { return sum.join(launch); }
  __device__ bool takes_block(const StencilPlan& plan) const {
    return sum.takes_block(plan.tile.image_blocks * plan.tile.tiles_down * plan.tile.tiles_across);
  }
};

template <class Source>
void backward_input(const Conv2dShape& shape, StencilUse use, const Source& source, const float* w, float* dx,
                    const WeightParts& parts, cudaStream_t stream) {
  const StripAndSumSink sink(dx, shape.width, parts);
  launch_stencil<StencilTurn::yes>(stencil_plan(shape, use), source, w, sink, stream);
}

}  // namespace

void conv2d_backward_input_stencil(const Conv2dShape& shape, const float* dy, const float* w, float* dx,
                                   const WeightParts& parts, cudaStream_t stream) {
  if (shape.stride == 2) return conv2d_backward_input_cells(shape, dy, w, dx, parts, stream);
  backward_input(shape, StencilUse::input_gradient, PlaneSource{dy}, w, dx, parts, stream);
}

void conv2d_pool_backward_input_stencil(const Conv2dShape& shape, const PooledGradient& dy, const float* w, float* dx,
                                        const WeightParts& parts, cudaStream_t stream) {
  backward_input(shape, StencilUse::pooled_input_gradient, WindowSource{dy}, w, dx, parts, stream);
}

}  // namespace espalier::kernels
