// What the tape and the mask invariant need of elementwise work. Memory bound: add moves 12 bytes per element,
// apply_mask 9.
#pragma once
#include <cstdint>

#include "kernels/shapes.h"
#include "kernels/simt/simt.h"

namespace espalier::kernels {

// y[i] = a[i] + b[i]; y may be a or b.
void accumulate(index_t count, const float* a, const float* b, float* y, cudaStream_t stream);

// values[i] = keep[i] ? values[i] : +0.0f
void zero_masked(index_t count, const std::uint8_t* keep, float* values, cudaStream_t stream);

// values[i] = value
void fill_value(index_t count, float value, float* values, cudaStream_t stream);

}  // namespace espalier::kernels
