// Four floats from shared memory in one load of 128 bits, however few of them are used: nvcc would read those alone,
// and lanes that are 16 bytes apart then find a float in every fourth bank only, a wavefront for each eight of them.
#pragma once
#include "kernels/simt/simt.h"

namespace espalier::simt {

__device__ inline float4 load_shared(const float* from) {
#if defined(ESPALIER_CUDA)
  float4 four;
  asm volatile("ld.shared.v4.f32 {%0, %1, %2, %3}, [%4];"
               : "=f"(four.x), "=f"(four.y), "=f"(four.z), "=f"(four.w)
               : "r"(static_cast<unsigned>(__cvta_generic_to_shared(from)))
               : "memory");
  return four;
#else
  return *reinterpret_cast<const float4*>(from);
#endif
}

}  // namespace espalier::simt
