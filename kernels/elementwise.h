// Maps over arrays: one read of each input, one write of each output, at most two flops per element, so the memory
// bandwidth is the bound and every fused neighbour a win. Neighbouring threads touch neighbouring elements on a GPU;
// on a CPU each thread runs along memory and the compiler vectorises.
// Outputs may be one of the inputs (in place) but must not overlap them otherwise. count == 0 launches nothing.
#pragma once
#include <cstdint>

#include "kernels/shapes.h"
#include "kernels/simt/simt.h"

namespace espalier::kernels {

void fill(index_t count, float value, float* y, cudaStream_t stream);
void scale(index_t count, float factor, const float* x, float* y, cudaStream_t stream);       // y = factor x
void add(index_t count, const float* a, const float* b, float* y, cudaStream_t stream);       // y = a + b
void add_in_place(index_t count, const float* x, float* sum, cudaStream_t stream);            // sum += x
void axpy(index_t count, float alpha, const float* x, float* y, cudaStream_t stream);         // y += alpha x
void multiply(index_t count, const float* a, const float* b, float* y, cudaStream_t stream);  // y = a b

// y = keep ? x : +0.0f, whatever x is: a masked NaN, infinity or -0 becomes +0 bit for bit.
void apply_keep(index_t count, const std::uint8_t* keep, const float* x, float* y, cudaStream_t stream);

// Element types among u8, i32, i64 and f32; the value must fit (as in static_cast: fractions are cut off).
template <class From, class To>
void convert(index_t count, const From* x, To* y, cudaStream_t stream);

// y[n, c, i] += bias[c] for y [batch, channels, area]: area is 1 after a dense layer. Moves 8 bytes per element.
void add_bias(const PlanesShape& shape, const float* bias, float* y, cudaStream_t stream);

// Sets *found to 1 where any x is NaN or infinite and leaves it alone otherwise: zero it once, gather over tensors.
void any_nonfinite(index_t count, const float* x, int* found, cudaStream_t stream);

}  // namespace espalier::kernels
