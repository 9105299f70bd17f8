// CUDA's device language for g++: qualifiers, barriers, warp collectives, atomics and intrinsics, with the meaning the
// CUDA C++ Programming Guide gives them. Shared variables are thread-local: one OS thread runs one block at a time.
#pragma once
#include "kernels/simt/emulated_math.h"
#include "kernels/simt/emulated_types.h"
#include "kernels/simt/emulated_warp.h"

#define __global__
#define __device__
#define __host__
#define __constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(bytes) __attribute__((aligned(bytes)))
#define __shared__ static __thread __attribute__((aligned(64)))

inline void __syncthreads(std::source_location site = std::source_location::current()) {
  espalier::simt::detail::arrive_at_barrier(site);
}
inline int __syncthreads_count(int predicate, std::source_location site = std::source_location::current()) {
  return espalier::simt::detail::vote_at_barrier(predicate, site);
}
inline int __syncthreads_and(int predicate, std::source_location site = std::source_location::current()) {
  return espalier::simt::detail::vote_at_barrier(predicate == 0, site) == 0;
}
inline int __syncthreads_or(int predicate, std::source_location site = std::source_location::current()) {
  return espalier::simt::detail::vote_at_barrier(predicate, site) != 0;
}
