// Images between the layouts [batch, channels, area] (nchw) and [batch, area, padded channels] (nhwc), converted
// between float and the 16-bit formats on the way. Memory bound: each element read and written once, in whole sectors
// through a transposing tile in shared memory. Weights are such images too: [filters, channels, taps].
#pragma once
#include "kernels/precision.h"
#include "kernels/shapes.h"

namespace espalier::kernels {

// As an element of a result: a float that is rounded to tf32 on the way.
struct Tf32 {
  float value;
};
template <>
__host__ __device__ inline Tf32 from_float<Tf32>(float x) {
  return {round_to_tf32(x)};
}

// y [batch, area, padded_channels] = x [batch, channels, area]; the channels that x does not have are zero.
template <class From, class To>
void nchw_to_nhwc(const PlanesShape& shape, index_t padded_channels, const From* x, To* y, cudaStream_t stream);

// y [batch, channels, area] = x [batch, area, padded_channels], whose last channels are left behind.
template <class From, class To>
void nhwc_to_nchw(const PlanesShape& shape, index_t padded_channels, const From* x, To* y, cudaStream_t stream);

}  // namespace espalier::kernels
