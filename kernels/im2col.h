// The patches of a convolution written out as a matrix, for products by a vendor's BLAS. Memory bound and wasteful: 4
// bytes written for every multiplication of one filter, patch() / stride^2 times the input; kernels/conv2d.h never does
// it.
//   columns [channels * kernel_height * kernel_width, batch * out_height * out_width], row-major: the weights of a
//   group meet patch() neighbouring rows.
// im2col of Chellapilla, Puri and Simard, 2006; col2im, its adjoint, gathers: each input sums what it was copied to, in
// the order of the taps, so it needs no atomics and gives the same bits every time.
#pragma once
#include "kernels/conv2d.h"

namespace espalier::kernels {

index_t im2col_size(const Conv2dShape& shape);

void im2col(const Conv2dShape& shape, const float* x, float* columns, cudaStream_t stream,
            Conv2dMethod method = Conv2dMethod::fastest);

// x = the sums; what was there before is lost.
void col2im(const Conv2dShape& shape, const float* columns, float* x, cudaStream_t stream,
            Conv2dMethod method = Conv2dMethod::fastest);

// to [b, a, plane] = from [a, b, plane]: between [images, filters, pixels], as networks keep them, and [filters,
// images, pixels], as one product over all images makes them.
void swap_outer_axes(index_t a, index_t b, index_t plane, const float* from, float* to, cudaStream_t stream);

}  // namespace espalier::kernels
