// The three directions of conv2d_tensor_core.h by tensor cores, for checked shapes. A scratch without memory counts
// what they need and launches nothing.
#pragma once
#include <algorithm>

#include "kernels/conv2d_arranged.h"
#include "kernels/conv2d_tensor_core.h"
#include "kernels/grid.h"
#include "kernels/scratch.h"

namespace espalier::kernels::detail {

inline index_t eights(index_t channels) { return ceil_div<index_t>(channels, 8) * 8; }

// Elements of a filter as the product reads it, [taps, padded channels].
inline index_t arranged_filter(const Conv2dShape& s) {
  return s.kernel_height * s.kernel_width * eights(s.channels_per_group());
}

// Whether the kernels can number the shape: in 32 bits, padding included, the elements of an image, the chunks of 16
// bytes of all images and the bytes of a filter; and a bit each for 16 taps along an axis.
template <class T>
bool tensor_cores_number(const Conv2dShape& s) {
  const auto numbered = [&](index_t height, index_t width, index_t channels) {
    const index_t image = height * width * (channels + 8);
    return image < index_t(1) << 31 && s.batch <= (index_t(1) << 35) / (image * index_t(sizeof(T)));
  };
  return std::max(s.kernel_height, s.kernel_width) <= 16 && s.patch() < index_t(1) << 28 &&
         numbered(s.height + s.dilation * s.kernel_height, s.width, s.channels) &&
         numbered(s.out_height() + s.dilation * s.kernel_height, s.out_width(), s.filters);
}

// `slope` of the activation below zero: 1 leaves numbers alone, 0 is relu.
template <class T>
void forward_on_tensor_cores(const Conv2dShape& s, Conv2dLayout layout, const T* x, const T* w, const float* bias,
                             float* y, float slope, Scratch& scratch, cudaStream_t stream);
template <class T>
void forward_arranged(const Conv2dShape& s, const ConvImages<T>& images, const T* arranged, const float* bias,
                      float slope, ConvPool pool, Scratch& scratch, cudaStream_t stream);
template <class T>
void arrange_filters(const Conv2dShape& s, Conv2dLayout layout, const T* w, T* arranged, cudaStream_t stream);
template <class T>
void backward_input_on_tensor_cores(const Conv2dShape& s, Conv2dLayout layout, const T* dy, const T* w, float* dx,
                                    Scratch& scratch, cudaStream_t stream);
template <class T>
void backward_weight_on_tensor_cores(const Conv2dShape& s, Conv2dLayout layout, const T* x, const T* dy, float* dw,
                                     float* db, Scratch& scratch, cudaStream_t stream);
// Both gradients; dy is packed once.
template <class T>
void backward_on_tensor_cores(const Conv2dShape& s, Conv2dLayout layout, const T* x, const T* dy, const T* w, float* dx,
                              float* dw, float* db, Scratch& scratch, cudaStream_t stream);

}  // namespace espalier::kernels::detail
