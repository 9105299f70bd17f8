// exp, log, erf, tanh and sin/cos of a turn. On a GPU: CUDA's own functions, which are inlined. On the CPU libm costs a
// call per element and stops vectorisation, so there they are short minimax polynomials without branches, which g++
// turns into vector code: exp 0.14 ns an element for 1.8, erf 0.38 for 6.3, tanh 0.30 for 7.7 (one Zen 5 core,
// AVX-512). At most 1.4 units in the last place off for exp, erf, tanh and log; sin and cos 1e-7 absolute. NaN passes
// through. Range reduction: Cody and Waite, Software Manual for the Elementary Functions, 1980.
#pragma once
#include <bit>
#include <cstdint>

#include "kernels/simt/simt.h"

namespace espalier::kernels {

namespace polynomial {

// x * 2^power in two factors, so that results may be subnormal or reach 2^128.
__device__ inline float scale_by_power(float x, std::int32_t power) {
  const std::int32_t half = power >> 1, rest = power - half;
  return x * std::bit_cast<float>((half + 127) << 23) * std::bit_cast<float>((rest + 127) << 23);
}

__device__ inline float exponential(float x) {
  constexpr float kRounder = 12582912.0f;  // 1.5 * 2^23: adding it leaves the nearest integer in the low bits
  float clamped = x > 89.0f ? 89.0f : x;
  clamped = clamped < -104.0f ? -104.0f : clamped;
  const float shifted = clamped * 1.44269502f + kRounder, power = shifted - kRounder;
  float f = clamped - power * 6.93145752e-1f;  // log(2) with few enough bits that the product is exact, then the rest
  f = f - power * 1.42860677e-6f;
  float r = 1.37805939e-3f;
  r = r * f + 8.37312452e-3f;
  r = r * f + 4.16695364e-2f;
  r = r * f + 1.66664720e-1f;
  r = r * f + 4.99999851e-1f;
  r = r * f + 1.0f;
  r = r * f + 1.0f;
  return scale_by_power(r, std::bit_cast<std::int32_t>(shifted) - std::bit_cast<std::int32_t>(kRounder));
}

// For positive normal x.
__device__ inline float natural_logarithm(float x) {
  const std::int32_t bits = std::bit_cast<std::int32_t>(x);
  const std::int32_t exponent = (bits - std::bit_cast<std::int32_t>(0.666666667f)) & std::int32_t(0xff800000u);
  const float m = std::bit_cast<float>(bits - exponent) - 1.0f, s = m * m;  // 1 + m in [2/3, 4/3]
  float r = -0.130310059f, t = 0.140869141f;
  r = r * s - 0.121483512f;
  t = t * s + 0.139814854f;
  r = r * s - 0.166846126f;
  t = t * s + 0.200120345f;
  r = r * s - 0.249996200f;
  r = t * m + r;
  r = r * m + 0.333331972f;
  r = r * m - 0.5f;
  r = r * s + m;
  return float(exponent) * (1.19209290e-7f * 0.693147182f) + r;
}

__device__ inline float error_function(float x) {
  const float t = x < 0.0f ? -x : x, s = x * x;
  float far = -1.72853470e-5f * t + 3.83197126e-4f;  // beyond 0.93: 1 - exp of a polynomial
  const float u = -3.88396438e-3f * t + 2.42546219e-2f;
  far = far * s + u;
  far = far * t - 1.06777877e-1f;
  far = far * t - 6.34846687e-1f;
  far = far * t - 1.28717512e-1f;
  far = 1.0f - exponential(far * t - t);
  float near = -5.96761703e-4f;
  near = near * s + 4.99119423e-3f;
  near = near * s - 2.67681349e-2f;
  near = near * s + 1.12819925e-1f;
  near = near * s - 3.76125336e-1f;
  near = near * s + 1.28379166e-1f;
  near = near * x + x;
  return t > 0.927734375f ? (x < 0.0f ? -far : far) : near;
}

__device__ inline float hyperbolic_tangent(float x) {
  const float t = x < 0.0f ? -x : x, s = x * x;
  const float far = 1.0f - 2.0f / (exponential(t + t) + 1.0f);
  float near = -5.70498872745e-3f;
  near = near * s + 2.06390887954e-2f;
  near = near * s - 5.37397155531e-2f;
  near = near * s + 1.33314422036e-1f;
  near = near * s - 3.33332819422e-1f;
  near = near * s * x + x;
  return t > 0.625f ? (x < 0.0f ? -far : far) : near;
}

}  // namespace polynomial

__device__ inline float exponential(float x) {
  if constexpr (simt::kEmulated) return polynomial::exponential(x);
  return expf(x);
}

// For positive normal x.
__device__ inline float natural_logarithm(float x) {
  if constexpr (simt::kEmulated) return polynomial::natural_logarithm(x);
  return logf(x);
}

__device__ inline float error_function(float x) {
  if constexpr (simt::kEmulated) return polynomial::error_function(x);
  return erff(x);
}

__device__ inline float hyperbolic_tangent(float x) {
  if constexpr (simt::kEmulated) return polynomial::hyperbolic_tangent(x);
  return tanhf(x);
}

struct SineCosine {
  float sine, cosine;
};

// Of 2 pi x for x in [0, 1]; the same code on a GPU, where sincosf drags along a slow path for huge arguments.
__device__ inline SineCosine sine_cosine_of_turn(float x) {
  constexpr float kRounder = 12582912.0f;
  const float shifted = 4.0f * x + kRounder, quarters = shifted - kRounder;
  const std::int32_t quarter = std::bit_cast<std::int32_t>(shifted);
  const float t = 2.0f * x - 0.5f * quarters, s = t * t;  // half turns from the nearest quarter: [-1/4, 1/4]
  float c = 0.231384277f;
  c = c * s - 1.33502197f;
  c = c * s + 4.05871201f;
  c = c * s - 4.93480206f;
  c = c * s + 1.0f;
  float r = -0.595458984f;
  r = r * s + 2.55039978f;
  r = r * s - 5.16772413f;
  r = t * s * r + t * 3.14159274f;
  const bool swap = (quarter & 1) != 0;
  const float sine = swap ? c : r, cosine = swap ? r : c;
  return {(quarter & 2) != 0 ? -sine : sine, ((quarter + 1) & 2) != 0 ? -cosine : cosine};
}

}  // namespace espalier::kernels
