// Tensor cores: products of small matrices by a whole warp, and the loads that bring fragments out of shared memory.
// Inline PTX under nvcc; under g++ the same fragments, computed by the last lane to arrive (emulated_tensor_core.h).
// Where the elements lie (PTX ISA, "Matrix Fragments for mma"), for lane l with g = l / 4 and t = l % 4:
//   sums   d [16, 8]:   d[0], d[1] = [g, 2t], [g, 2t + 1]; d[2], d[3] the same of row g + 8
//   tf32   a [16, 8]:   a[0..3] = [g, t], [g + 8, t], [g, t + 4], [g + 8, t + 4]
//          b [8, 8]:    b[0..1] = [t, g], [t + 4, g]
//   16 bit a [16, 16]:  pairs a[0..3] = [g, 2t..], [g + 8, 2t..], [g, 2t + 8..], [g + 8, 2t + 8..]
//          b [16, 8]:   pairs b[0..1] = [2t.., g], [2t + 8.., g];  [16, 8] and [8, 8] have the first half of those
// Sparse products ("Matrix multiply-accumulate operation using mma.sp instruction with sparse matrix A") take a with
// half its elements kept, in the same fragments, and twice the depth of b:
//   b [16, 8] of tf32: b[i] = [t + 4 i, g];  b [32, 8] of 16 bit: pairs b[i] = [2t + 8 i.., g]
// A word of places describes rows g (low half) and g + 8 of 16 columns (tf32: 8): four nibbles, of the four groups. Two
// words make an instruction: those of the lanes with t / 2 == kSelector, t % 2 the earlier or later half of its depth.
// All lanes of a warp must call these together.
#pragma once
#include "kernels/simt/half.h"
#include "kernels/simt/simt.h"

#if !defined(ESPALIER_CUDA)
#include "kernels/simt/emulated_tensor_core.h"
#endif

namespace espalier::simt {

// d += a * b, 8 deep.
__device__ void multiply_tf32(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]);
__device__ void multiply_half_8(float (&d)[4], const unsigned (&a)[2], unsigned b);
// d += a * b, 16 deep.
__device__ void multiply_half(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]);
__device__ void multiply_bfloat16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]);

// d += a * b, where a is sparse: two of each four neighbours of 16 bits, one of each two of tf32; 32 or 16 deep.
template <int kSelector>
__device__ void multiply_sparse_tf32(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[4], unsigned places);
template <int kSelector>
__device__ void multiply_sparse_half(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[4], unsigned places);
template <int kSelector>
__device__ void multiply_sparse_bfloat16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[4],
                                         unsigned places);

// ldmatrix: kCount (1, 2 or 4) matrices of 8 rows of 16 bytes. Lanes 8 i ... 8 i + 7 give the rows of matrix i; r[i] of
// a lane is its elements [g, 2t] and [g, 2t + 1] of 16 bits, transposed [2t, g] and [2t + 1, g].
enum class MatrixOrder { as_stored, transposed };
template <MatrixOrder kOrder, int kCount>
__device__ void load_matrices(unsigned (&r)[kCount], const void* row);

#if defined(ESPALIER_CUDA)

// The compute capability (80 for 8.0) that the code of a kernel was compiled for, on this device.
inline int compiled_capability(const void* kernel) {
  cudaFuncAttributes attributes;
  return cudaFuncGetAttributes(&attributes, kernel) == cudaSuccess ? attributes.ptxVersion : 0;
}

#if defined(__CUDACC__)

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800

__device__ inline void multiply_tf32(float (&)[4], const unsigned (&)[4], const unsigned (&)[2]) { __trap(); }
__device__ inline void multiply_bfloat16(float (&)[4], const unsigned (&)[4], const unsigned (&)[2]) { __trap(); }
__device__ inline void multiply_half(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  multiply_half_8(d, {a[0], a[1]}, b[0]);
  multiply_half_8(d, {a[2], a[3]}, b[1]);
}
template <int>
__device__ inline void multiply_sparse_tf32(float (&)[4], const unsigned (&)[4], const unsigned (&)[4], unsigned) {
  __trap();
}
template <int>
__device__ inline void multiply_sparse_half(float (&)[4], const unsigned (&)[4], const unsigned (&)[4], unsigned) {
  __trap();
}
template <int>
__device__ inline void multiply_sparse_bfloat16(float (&)[4], const unsigned (&)[4], const unsigned (&)[4], unsigned) {
  __trap();
}

#else

__device__ inline void multiply_tf32(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
__device__ inline void multiply_half(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
__device__ inline void multiply_bfloat16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
template <int kSelector>
__device__ inline void multiply_sparse_tf32(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[4],
                                            unsigned places) {
  asm("mma.sp::ordered_metadata.sync.aligned.m16n8k16.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9, %10, %11}, {%0, %1, %2, %3}, %12, %13;"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "r"(b[2]), "r"(b[3]), "r"(places),
        "n"(kSelector));
}
template <int kSelector>
__device__ inline void multiply_sparse_half(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[4],
                                            unsigned places) {
  asm("mma.sp::ordered_metadata.sync.aligned.m16n8k32.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9, %10, %11}, {%0, %1, %2, %3}, %12, %13;"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "r"(b[2]), "r"(b[3]), "r"(places),
        "n"(kSelector));
}
template <int kSelector>
__device__ inline void multiply_sparse_bfloat16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[4],
                                                unsigned places) {
  asm("mma.sp::ordered_metadata.sync.aligned.m16n8k32.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9, %10, %11}, {%0, %1, %2, %3}, %12, %13;"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "r"(b[2]), "r"(b[3]), "r"(places),
        "n"(kSelector));
}

#endif

__device__ inline void multiply_half_8(float (&d)[4], const unsigned (&a)[2], unsigned b) {
  asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(b));
}

// volatile and "memory": the load must stay between the barriers around it.
template <MatrixOrder kOrder, int kCount>
__device__ inline void load_matrices(unsigned (&r)[kCount], const void* row) {
  static_assert(kCount == 1 || kCount == 2 || kCount == 4, "ldmatrix loads 1, 2 or 4 matrices");
  const unsigned from = static_cast<unsigned>(__cvta_generic_to_shared(row));
  constexpr bool kTransposed = kOrder == MatrixOrder::transposed;
  if constexpr (kCount == 4 && !kTransposed) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(from)
                 : "memory");
  } else if constexpr (kCount == 4) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(from)
                 : "memory");
  } else if constexpr (kCount == 2 && !kTransposed) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
                 : "=r"(r[0]), "=r"(r[1])
                 : "r"(from)
                 : "memory");
  } else if constexpr (kCount == 2) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
                 : "=r"(r[0]), "=r"(r[1])
                 : "r"(from)
                 : "memory");
  } else if constexpr (!kTransposed) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%0}, [%1];" : "=r"(r[0]) : "r"(from) : "memory");
  } else {
    asm volatile("ldmatrix.sync.aligned.m8n8.x1.trans.shared.b16 {%0}, [%1];" : "=r"(r[0]) : "r"(from) : "memory");
  }
}

#endif

#else

inline int compiled_capability(const void*) { return 90; }

inline void multiply_tf32(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  detail::warp_product<float>(d, a, b);
}
inline void multiply_half_8(float (&d)[4], const unsigned (&a)[2], unsigned b) {
  detail::warp_product<kernels::half>(d, {a[0], a[1], 0u, 0u}, {b, 0u});
}
inline void multiply_half(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  detail::warp_product<kernels::half>(d, a, b);
}
inline void multiply_bfloat16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  detail::warp_product<kernels::bfloat16>(d, a, b);
}

template <int kSelector>
void multiply_sparse_tf32(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[4], unsigned places) {
  detail::sparse_warp_product<float, kSelector>(d, a, b, places);
}
template <int kSelector>
void multiply_sparse_half(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[4], unsigned places) {
  detail::sparse_warp_product<kernels::half, kSelector>(d, a, b, places);
}
template <int kSelector>
void multiply_sparse_bfloat16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[4], unsigned places) {
  detail::sparse_warp_product<kernels::bfloat16, kSelector>(d, a, b, places);
}

template <MatrixOrder kOrder, int kCount>
void load_matrices(unsigned (&r)[kCount], const void* row) {
  static_assert(kCount == 1 || kCount == 2 || kCount == 4, "ldmatrix loads 1, 2 or 4 matrices");
  detail::warp_load<kOrder == MatrixOrder::transposed>(r, row);
}

#endif

#if defined(__CUDACC__) || !defined(ESPALIER_CUDA)

// d += a * b in the format of T, as deep as 32 bytes of it: float stands for tf32.
template <class T>
__device__ inline void multiply_fragments(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  if constexpr (sizeof(T) == sizeof(float)) {
    multiply_tf32(d, a, b);
  } else if constexpr (std::is_same_v<T, kernels::half>) {
    multiply_half(d, a, b);
  } else {
    multiply_bfloat16(d, a, b);
  }
}

// The same with a sparse a, twice as deep.
template <class T, int kSelector>
__device__ inline void multiply_sparse_fragments(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[4],
                                                 unsigned places) {
  if constexpr (sizeof(T) == sizeof(float)) {
    multiply_sparse_tf32<kSelector>(d, a, b, places);
  } else if constexpr (std::is_same_v<T, kernels::half>) {
    multiply_sparse_half<kSelector>(d, a, b, places);
  } else {
    multiply_sparse_bfloat16<kSelector>(d, a, b, places);
  }
}

#endif

}  // namespace espalier::simt
