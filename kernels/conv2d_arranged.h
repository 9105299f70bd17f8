// The forward convolution of conv2d_tensor_core.h as an inference runs it, again and again with one weight: that is
// arranged for the product once, and images in fp32 and nchw are rounded into nhwc in one pass (in two for several
// groups whose channels are no multiple of 8), or come so from the convolution before. One or two launches, with the
// halving max pool behind it too, which then costs no map in memory: the pixels of a window follow each other, so that
// a thread has their four sums. Always on tensor cores, which the cpu build emulates. T is float (tf32), half or
// bfloat16. The same bits as conv2d_forward_tensor_core in nchw, followed by max_pool2d_forward.
#pragma once
#include "kernels/precision.h"
#include "kernels/sparse/csr_conv2d.h"

namespace espalier::kernels {

// Whether tensor cores take the shape: kernels of up to 16 taps along an axis, images that 32 bits number.
template <class T>
bool takes_arranged(const Conv2dShape& shape);

// arranged [filters, kernel height, kernel width, channels / groups padded to eights] = w [filters, channels / groups,
// kernel height, kernel width], which is rounded to T's format.
index_t conv2d_arranged_size(const Conv2dShape& shape);
template <class T>
void conv2d_arrange(const Conv2dShape& shape, const T* w, T* arranged, cudaStream_t stream);

// The images on either side of a convolution: x and y in fp32 and nchw, or as operands, rounded and nhwc: what one
// convolution leaves as its y the next takes as its x. One of each pair is null.
template <class T>
struct ConvImages {
  const float* x = nullptr;
  const T* x_operand = nullptr;  // of channels_are_eights()
  float* y = nullptr;
  T* y_operand = nullptr;  // of a multiple of 8 filters, behind an activation of straight lines
};
// Whether operands need no padding between groups, nor behind the channels.
constexpr bool channels_are_eights(const Conv2dShape& shape) { return shape.channels_per_group() % 8 == 0; }

// y [batch, filters, out_height, out_width], or half as high and wide with ConvPool::halves, behind none, relu and
// leaky_relu; bias [filters] may be null. The workspace, which it must have for x, takes the rounded images.
template <class T>
index_t conv2d_arranged_workspace(const Conv2dShape& shape);
template <class T>
void conv2d_forward_arranged(const Conv2dShape& shape, const ConvImages<T>& images, const T* arranged,
                             const float* bias, Activation activation, float leaky_slope, ConvPool pool,
                             Workspace workspace, cudaStream_t stream);
// Refuses operands that conv2d_forward_arranged() and two_four_conv2d() do not take.
template <class T>
void require_operands(const Conv2dShape& shape, const ConvImages<T>& images, Activation activation, const char* caller);

}  // namespace espalier::kernels
