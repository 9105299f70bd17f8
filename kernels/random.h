// Random fills and dropout from Philox: the values depend on (seed, stream, element) only, so they are the same on CPU
// and GPU (normals up to rounding), for any grid and thread order. Written once per element, read never: memory bound
// on a GPU (4 bytes for ~25 integer instructions).
// Element i takes word (i / 32) % 4 at position (i / 128) * 32 + i % 32: the four words of a thread go to four rows of
// 32 neighbours, so stores coalesce without float4 and vectorise across lanes on a CPU.
#pragma once
#include <cstdint>

#include "kernels/random_stream.h"
#include "kernels/shapes.h"
#include "kernels/simt/simt.h"

namespace espalier::kernels {

// out[i] uniform in [low, high); rounding may give `high` itself.
void fill_uniform(index_t count, RandomStream random, float low, float high, float* out, cudaStream_t stream);
void fill_normal(index_t count, RandomStream random, float mean, float deviation, float* out, cudaStream_t stream);

// keep[i] = 1 with `keep_probability`, else 0.
void bernoulli(index_t count, RandomStream random, double keep_probability, std::uint8_t* keep, cudaStream_t stream);

// Inverted dropout (Srivastava et al. 2014): y = keep ? x / (1 - probability) : 0, keep as bernoulli() with
// {seed, *step} draws it. The step is read on the device, so that a captured graph draws anew at each replay.
// Forward moves 9 bytes per element, backward 9. A dropped NaN becomes 0. y may be x, dx may be dy.
struct Dropout {
  double probability = 0.5;  // of being dropped, in [0, 1]
  std::uint64_t seed = 0;
};
void dropout_forward(index_t count, Dropout dropout, const std::int64_t* step, const float* x, float* y,
                     std::uint8_t* keep, cudaStream_t stream);
void dropout_backward(index_t count, Dropout dropout, const std::uint8_t* keep, const float* dy, float* dx,
                      cudaStream_t stream);

// *counter += 1.
void increment_counter(std::int64_t* counter, cudaStream_t stream);

}  // namespace espalier::kernels
