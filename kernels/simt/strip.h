// A strip: neighbouring outputs that one thread sums in registers while the nonzeros of a sparse row pass by. Each
// nonzero is one broadcast value times one run of the dense operand. On a GPU a thread's elements lie kStride apart, so
// that the lanes of a warp read without bank conflicts; on a CPU one thread takes the whole run in native vectors.
#pragma once
#include "kernels/simt/simt.h"
#include "kernels/simt/vectors.h"

#if defined(__CUDACC__) || !defined(ESPALIER_CUDA)

namespace espalier::simt {

// values = from [kCount]; 2 or 4 floats are one access and need that alignment.
template <int kCount>
__device__ inline void load_together(const float* from, float (&values)[kCount]) {
  if constexpr (kCount == 4) {
    const float4 four = *reinterpret_cast<const float4*>(from);
    values[0] = four.x, values[1] = four.y, values[2] = four.z, values[3] = four.w;
  } else if constexpr (kCount == 2) {
    const float2 two = *reinterpret_cast<const float2*>(from);
    values[0] = two.x, values[1] = two.y;
  } else {
#pragma unroll
    for (int i = 0; i < kCount; ++i) values[i] = from[i];
  }
}

// Two or four indices, in one access.
template <int kCount>
__device__ inline void load_together(const std::int32_t* from, std::int32_t (&values)[kCount]) {
  static_assert(kCount == 2 || kCount == 4);
  if constexpr (kCount == 4) {
    const int4 four = *reinterpret_cast<const int4*>(from);
    values[0] = four.x, values[1] = four.y, values[2] = four.z, values[3] = four.w;
  } else {
    const int2 two = *reinterpret_cast<const int2*>(from);
    values[0] = two.x, values[1] = two.y;
  }
}

// kWidth floats; element j lies at memory[j * kStride]. With kStride == 1 it is loaded by load_together().
template <int kWidth, int kStride = 1>
struct Strip {
  float lane[kWidth] = {};

  __device__ static Strip load(const float* from) {
    Strip strip;
    if constexpr (kStride == 1) {
      load_together(from, strip.lane);
    } else {
#pragma unroll
      for (int j = 0; j < kWidth; ++j) strip.lane[j] = from[j * kStride];
    }
    return strip;
  }
  __device__ void add_product(float factor, const Strip& other) {
#pragma unroll
    for (int j = 0; j < kWidth; ++j) lane[j] += factor * other.lane[j];
  }
  __device__ void add_product(float factor, const float* from) { add_product(factor, load(from)); }
  __device__ void add(float value) {
#pragma unroll
    for (int j = 0; j < kWidth; ++j) lane[j] += value;
  }
  __device__ void store(float* to) const {
#pragma unroll
    for (int j = 0; j < kWidth; ++j) to[j * kStride] = lane[j];
  }
  // The larger of each pair, or a NaN where there is one.
  __device__ void take_larger(const Strip& other) {
#pragma unroll
    for (int j = 0; j < kWidth; ++j) {
      const bool stays = lane[j] != lane[j] || other.lane[j] <= lane[j];
      lane[j] = stays ? lane[j] : other.lane[j];
    }
  }
  // x <= 0 ? 0 : x, so that NaN stays NaN.
  __device__ void relu() {
#pragma unroll
    for (int j = 0; j < kWidth; ++j) lane[j] = lane[j] <= 0.0f ? 0.0f : lane[j];
  }
  template <class Map>
  __device__ void map(Map function) {
#pragma unroll
    for (int j = 0; j < kWidth; ++j) lane[j] = function(lane[j]);
  }
};

#if !defined(ESPALIER_CUDA)

template <int kWidth>
requires(kWidth % kLanes == 0) struct Strip<kWidth, 1> {
  static constexpr int kParts = kWidth / kLanes;
  Vector part[kParts] = {};

  static Strip load(const float* from) {
    Strip strip;
#pragma GCC unroll 16
    for (int p = 0; p < kParts; ++p) strip.part[p] = load_vector(from + p * kLanes);
    return strip;
  }
  void add_product(float factor, const Strip& other) {
    const Vector broadcast = factor - Vector{};
#pragma GCC unroll 16
    for (int p = 0; p < kParts; ++p) part[p] += broadcast * other.part[p];
  }
  void add_product(float factor, const float* from) {
    const Vector broadcast = factor - Vector{};
#pragma GCC unroll 16
    for (int p = 0; p < kParts; ++p) part[p] += broadcast * load_vector(from + p * kLanes);
  }
  void add(float value) {
#pragma GCC unroll 16
    for (int p = 0; p < kParts; ++p) part[p] += value;
  }
  void store(float* to) const {
#pragma GCC unroll 16
    for (int p = 0; p < kParts; ++p) store_vector(to + p * kLanes, part[p]);
  }
  void take_larger(const Strip& other) {
#pragma GCC unroll 16
    for (int p = 0; p < kParts; ++p) {
      const auto stays = (part[p] != part[p]) | (other.part[p] <= part[p]);
      part[p] = stays ? part[p] : other.part[p];
    }
  }
  void relu() {
#pragma GCC unroll 16
    for (int p = 0; p < kParts; ++p) part[p] = part[p] <= 0.0f ? Vector{} : part[p];
  }
  template <class Map>
  void map(Map function) {
    float values[kWidth];
    store(values);
    for (float& value : values) value = function(value);
    *this = load(values);
  }
};

// sum of values[i] * from[indices[i]]: whole vectors first, gathered by scalar loads, since a gather instruction takes
// several times as long (23.5 K nonzeros: 7.2 us so, 10.8 us by gather instructions on Zen 5).
inline float sparse_dot(const float* values, const std::int32_t* indices, int count, const float* from) {
  Vector total = {};
  int i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    const auto gathered = [&]<int... kLane>(std::integer_sequence<int, kLane...>) {
      return Vector{from[indices[i + kLane]]...};
    }
    (std::make_integer_sequence<int, kLanes>());
    total += load_vector(values + i) * gathered;
  }
  float even = 0.0f, odd = 0.0f;
  for (; i + 2 <= count; i += 2) {
    even += values[i] * from[indices[i]];
    odd += values[i + 1] * from[indices[i + 1]];
  }
  if (i < count) even += values[i] * from[indices[i]];
  for (int lane = 0; lane < kLanes; lane += 2) even += total[lane], odd += total[lane + 1];
  return even + odd;
}

// to [count] = from [count] in whole vectors where that may read up to `readable` and write up to `writable` floats:
// for rows that are copied in ascending order, so that the next row mends what this one spoils.
inline void copy_row(const float* from, std::int64_t readable, float* to, std::int64_t writable, int count) {
  const std::int64_t room = readable < writable ? readable : writable;
  int i = 0;
  for (; i < count && i + kLanes <= room; i += kLanes) store_vector(to + i, load_vector(from + i));
  for (; i < count; ++i) to[i] = from[i];
}

#else

inline float sparse_dot(const float* values, const std::int32_t* indices, int count, const float* from) {
  float sum = 0.0f;
  for (int i = 0; i < count; ++i) sum += values[i] * from[indices[i]];
  return sum;
}

inline void copy_row(const float* from, std::int64_t, float* to, std::int64_t, int count) {
  for (int i = 0; i < count; ++i) to[i] = from[i];
}

#endif

}  // namespace espalier::simt

#endif
