// Neighbouring floats to shared or global memory in one store of 64 or 128 bits. nvcc merges a thread's four stores
// into one only where its vectoriser finds them, which it does not in long unrolled code; a conflict of banks is what
// is left otherwise.
#pragma once
#include <cstdint>

#include "kernels/simt/simt.h"

namespace espalier::simt {

__device__ inline void store_shared(float* to, const float (&four)[4]) {
#if defined(ESPALIER_CUDA)
  asm volatile("st.shared.v4.f32 [%0], {%1, %2, %3, %4};"
               :
               : "r"(static_cast<unsigned>(__cvta_generic_to_shared(to))), "f"(four[0]), "f"(four[1]), "f"(four[2]),
                 "f"(four[3])
               : "memory");
#else
  *reinterpret_cast<float4*>(to) = make_float4(four[0], four[1], four[2], four[3]);
#endif
}

__device__ inline void store_shared(float* to, const float (&two)[2]) {
#if defined(ESPALIER_CUDA)
  asm volatile("st.shared.v2.f32 [%0], {%1, %2};"
               :
               : "r"(static_cast<unsigned>(__cvta_generic_to_shared(to))), "f"(two[0]), "f"(two[1])
               : "memory");
#else
  *reinterpret_cast<float2*>(to) = make_float2(two[0], two[1]);
#endif
}

__device__ inline void store_global(float* to, const float (&four)[4]) {
#if defined(ESPALIER_CUDA)
  asm volatile("st.global.v4.f32 [%0], {%1, %2, %3, %4};"
               :
               : "l"(to), "f"(four[0]), "f"(four[1]), "f"(four[2]), "f"(four[3])
               : "memory");
#else
  *reinterpret_cast<float4*>(to) = make_float4(four[0], four[1], four[2], four[3]);
#endif
}

// Hides from nvcc how a pointer came about, so that it takes one step from the last address to the next instead of
// keeping or computing a multiple of the step for each.
template <class T>
__device__ inline void forget_origin([[maybe_unused]] T*& pointer) {
#if defined(ESPALIER_CUDA)
  asm volatile("" : "+l"(pointer));
#endif
}
// The same for the step between addresses, which leaves the compiler what it knows of the pointer.
__device__ inline void forget_origin([[maybe_unused]] std::int64_t& step) {
#if defined(ESPALIER_CUDA)
  asm volatile("" : "+l"(step));
#endif
}

// The address `count` units of `bytes` after one, in one instruction: nvcc would rather hold products in registers and
// add to them in 64 bits, and ptxas makes three instructions of PTX's mad.wide, but one of this pair.
template <class T>
__device__ inline const T* step_from(const T* from, int count, int bytes) {
#if defined(ESPALIER_CUDA)
  const T* to;
  asm("{ .reg .s64 step; mul.wide.s32 step, %1, %2; add.s64 %0, %3, step; }"
      : "=l"(to)
      : "r"(count), "r"(bytes), "l"(from));
  __builtin_assume(__isGlobal(to));  // else loads from there are generic ones
  return to;
#else
  return from + std::int64_t(count) * bytes / std::int64_t(sizeof(T));
#endif
}

}  // namespace espalier::simt
