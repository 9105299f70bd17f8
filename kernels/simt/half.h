// The 16-bit floating-point storage types: CUDA's own in the cuda build, own types with the same conversions under g++
// (round to nearest even; overflow is an infinity, subnormals are kept, every NaN becomes 0x7FFF). Arithmetic is done
// in float: these types only hold what memory and tensor cores hold.
#pragma once
#include <bit>
#include <cstdint>

#include "kernels/simt/simt.h"

#if defined(ESPALIER_CUDA)
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#else
#include "kernels/simt/emulated_half.h"
#endif

namespace espalier::kernels {

using half = __half;
using bfloat16 = __nv_bfloat16;

__host__ __device__ inline float to_float(float x) { return x; }
__host__ __device__ inline float to_float(half x) { return __half2float(x); }
__host__ __device__ inline float to_float(bfloat16 x) { return __bfloat162float(x); }

template <class T>
__host__ __device__ inline T from_float(float x);
template <>
__host__ __device__ inline float from_float<float>(float x) {
  return x;
}
template <>
__host__ __device__ inline half from_float<half>(float x) {
  return __float2half_rn(x);
}
template <>
__host__ __device__ inline bfloat16 from_float<bfloat16>(float x) {
  return __float2bfloat16_rn(x);
}

// The halves of a word that holds two.
template <class T>
__host__ __device__ inline float low_half(std::uint32_t pair) {
  return to_float(std::bit_cast<T>(std::uint16_t(pair)));
}
template <class T>
__host__ __device__ inline float high_half(std::uint32_t pair) {
  return to_float(std::bit_cast<T>(std::uint16_t(pair >> 16)));
}
// The same in one instruction each; nvcc finds one and a half.
template <>
__host__ __device__ inline float low_half<bfloat16>(std::uint32_t pair) {
  return std::bit_cast<float>(pair << 16);
}
template <>
__host__ __device__ inline float high_half<bfloat16>(std::uint32_t pair) {
  return std::bit_cast<float>(pair & 0xFFFF0000u);
}

}  // namespace espalier::kernels
