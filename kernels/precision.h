// Number formats of the products' operands, and the conversions between them: memory bound, one read of each input, one
// write of each output (tf32 8 bytes an element, the 16-bit formats 6). The sums of a product stay in fp32 throughout.
//   tf32  8 bits of exponent, 10 of fraction, stored as a float whose last 13 bits are zero
//   bf16  8 and 7: fp32's range, an eighth of tf32's resolution
//   fp16  5 and 10: 6e-8 to 65504, so that gradients want their loss scaled
// Tensor cores only read tf32's bits: operands that were rounded once, where they were stored, need no rounding in the
// inner loop of a product, of which it would be 43 % (CUTLASS tf32 128x128x16: 131 of 305 instructions).
#pragma once
#include "kernels/shapes.h"
#include "kernels/simt/half.h"
#include "kernels/simt/simt.h"

namespace espalier::kernels {

enum class Precision { fp32, tf32, bf16, fp16 };

// The format whose operands are stored as T; floats are tf32.
template <class T>
inline constexpr Precision kPrecisionOf = Precision::tf32;
template <>
inline constexpr Precision kPrecisionOf<half> = Precision::fp16;
template <>
inline constexpr Precision kPrecisionOf<bfloat16> = Precision::bf16;

// The nearest tf32, ties away from zero, as cvt.rna.tf32.f32 rounds; NaN and infinities stay.
__host__ __device__ inline float round_to_tf32(float x) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(x);
  const bool finite = (bits & 0x7F800000u) != 0x7F800000u;
  return std::bit_cast<float>(finite ? (bits + 0x1000u) & 0xFFFFE000u : bits);
}

// y = x rounded; y may be x.
void round_to_tf32(index_t count, const float* x, float* y, cudaStream_t stream);

// To the nearest, ties to even; and back, exactly.
void convert(index_t count, const float* x, half* y, cudaStream_t stream);
void convert(index_t count, const float* x, bfloat16* y, cudaStream_t stream);
void convert(index_t count, const half* x, float* y, cudaStream_t stream);
void convert(index_t count, const bfloat16* x, float* y, cudaStream_t stream);

}  // namespace espalier::kernels
