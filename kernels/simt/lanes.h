// Neighbours worked on together by one "thread" of the CPU: a vector of kLanes values where g++ does not find the
// vector code by itself (strided pairs, bytes beside floats). On a GPU a thread is a lane: kLanes is 1 and Lanes<T, 1>
// is T. Arithmetic, comparisons and ?: work on both, so a helper written with auto serves both. Device code.
#pragma once
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include "kernels/simt/simt.h"

namespace espalier::simt {

template <class T, int kLanes>
struct LanesOf {
#if !defined(ESPALIER_CUDA)
  using Type [[gnu::vector_size(kLanes * sizeof(T))]] = T;
#endif
};
template <class T>
struct LanesOf<T, 1> {
  using Type = T;
};
template <class T, int kLanes>
using Lanes = typename LanesOf<T, kLanes>::Type;

// A run of kLanes * kStride values by their place modulo kStride: phase[1] holds the values at 1, 1 + kStride ...
template <class T, int kLanes, int kStride>
struct LanePhases {
  static_assert(kStride == 1 || kStride == 2, "shuffles are written for neighbours and for pairs");
  Lanes<T, kLanes> phase[kStride];
};

#if defined(__CUDACC__) || !defined(ESPALIER_CUDA)

template <int kLanes, class T>
__device__ inline Lanes<T, kLanes> load_lanes(const T* from) {
  if constexpr (kLanes == 1) return *from;
  Lanes<T, kLanes> values;
  std::memcpy(&values, from, sizeof values);
  return values;
}

template <int kLanes, class T>
__device__ inline void store_lanes(T* to, const Lanes<T, kLanes>& values) {
  if constexpr (kLanes == 1) {
    *to = values;
  } else {
    std::memcpy(to, &values, sizeof values);
  }
}

#endif
#if defined(__CUDACC__)

template <class To, int kLanes, class From>
__device__ inline To convert_lanes(From value) {
  return To(value);
}

template <int kLanes, int kStride, class T>
__device__ inline LanePhases<T, kLanes, kStride> load_phases(const T* from) {
  LanePhases<T, kLanes, kStride> values;
  for (int r = 0; r < kStride; ++r) values.phase[r] = from[r];
  return values;
}

template <int kLanes, int kStride, class T>
__device__ inline void store_phases(T* to, const LanePhases<T, kLanes, kStride>& values) {
  for (int r = 0; r < kStride; ++r) to[r] = values.phase[r];
}

#elif !defined(ESPALIER_CUDA)

template <class To, int kLanes, class From>
inline Lanes<To, kLanes> convert_lanes(From values) {
  if constexpr (kLanes == 1) {
    return To(values);
  } else if constexpr (sizeof(To) == 4 * sizeof(values[0])) {  // g++ 12 widens by two in vectors, by four one by one
    using Half = std::conditional_t<std::is_signed_v<To>, std::int16_t, std::uint16_t>;
    return __builtin_convertvector(__builtin_convertvector(values, Lanes<Half, kLanes>), Lanes<To, kLanes>);
  } else {
    return __builtin_convertvector(values, Lanes<To, kLanes>);
  }
}

namespace detail {
template <int kFirst, class Vector, int... kIndex>
inline Vector every_second(Vector low, Vector high, std::integer_sequence<int, kIndex...>) {
  return __builtin_shufflevector(low, high, (2 * kIndex + kFirst)...);
}
// The values kFirst, kFirst + 1 ... of even[0], odd[0], even[1], odd[1] ...
template <int kFirst, class Vector, int... kIndex>
inline Vector zip(Vector even, Vector odd, std::integer_sequence<int, kIndex...>) {
  constexpr int kCount = sizeof...(kIndex);
  return __builtin_shufflevector(even, odd, ((kFirst + kIndex) / 2 + (kIndex % 2) * kCount)...);
}
}  // namespace detail

template <int kLanes, int kStride, class T>
inline LanePhases<T, kLanes, kStride> load_phases(const T* from) {
  if constexpr (kLanes == 1 && kStride == 2) {
    return {{from[0], from[1]}};
  } else if constexpr (kStride == 2) {
    const auto low = load_lanes<kLanes>(from), high = load_lanes<kLanes>(from + kLanes);
    constexpr std::make_integer_sequence<int, kLanes> kOrder;
    return {{detail::every_second<0>(low, high, kOrder), detail::every_second<1>(low, high, kOrder)}};
  } else {
    return {{load_lanes<kLanes>(from)}};
  }
}

template <int kLanes, int kStride, class T>
inline void store_phases(T* to, const LanePhases<T, kLanes, kStride>& values) {
  if constexpr (kLanes == 1 && kStride == 2) {
    to[0] = values.phase[0], to[1] = values.phase[1];
  } else if constexpr (kStride == 2) {
    constexpr std::make_integer_sequence<int, kLanes> kOrder;
    store_lanes<kLanes>(to, detail::zip<0>(values.phase[0], values.phase[1], kOrder));
    store_lanes<kLanes>(to + kLanes, detail::zip<kLanes>(values.phase[0], values.phase[1], kOrder));
  } else {
    store_lanes<kLanes>(to, values.phase[0]);
  }
}

#endif

}  // namespace espalier::simt
