// cp.async: copies from global to shared memory that run beside the arithmetic and pass through no register. A thread
// starts copies, closes them into a group, and later waits until all but its newest groups have landed; a barrier then
// makes them visible to the block. PTX ISA, "Data Movement: Non-bulk asynchronous copy". Compute capability 7.5 has no
// such unit: there a copy is a load and a store on the spot, and a kernel that asks kAsyncCopy can stage in registers.
// Under g++ a copy happens as late as it may, at the wait of the thread that started it, and what it will write is NaN
// until then: a forgotten wait or barrier gives wrong values in every thread order.
#pragma once
#include <cstring>

#include "kernels/simt/simt.h"

#if !defined(ESPALIER_CUDA)
#include "kernels/simt/emulated_async_copy.h"
#endif

namespace espalier::simt {

// The device being compiled for: 75, 80 ...; 0 under g++. Device code only: nvcc's host pass has no device.
#if defined(ESPALIER_CUDA) && defined(__CUDA_ARCH__)
inline constexpr int kComputeCapability = __CUDA_ARCH__ / 10;
#else
inline constexpr int kComputeCapability = 0;
#endif
// Whether its copies are asynchronous.
inline constexpr bool kAsyncCopy = kComputeCapability == 0 || kComputeCapability >= 80;

#if defined(ESPALIER_CUDA)

namespace detail {

template <int kBytes>
struct CopyUnit;
template <>
struct CopyUnit<4> {
  using Type = unsigned;
};
template <>
struct CopyUnit<8> {
  using Type = uint2;
};
template <>
struct CopyUnit<16> {
  using Type = uint4;
};

// What hardware without cp.async does instead.
template <int kBytes>
__device__ inline void copy_now(void* shared, const void* global, int bytes) {
  using Unit = typename CopyUnit<kBytes>::Type;
  if (bytes == kBytes) {
    *static_cast<Unit*>(shared) = *static_cast<const Unit*>(global);
    return;
  }
  const auto* from = static_cast<const unsigned short*>(global);
  auto* to = static_cast<unsigned short*>(shared);
  for (int i = 0; i < kBytes / 2; ++i) to[i] = 2 * i < bytes ? from[i] : static_cast<unsigned short>(0);
}

}  // namespace detail

// Starts to copy kBytes (4, 8 or 16; both addresses are multiples of it), of which the last kBytes - bytes become zero
// and are not read: bytes == 0 reads nothing. 16 bytes a time bypass the L1 cache, whose room shared memory needs.
template <int kBytes>
__device__ inline void async_copy(void* shared, const void* global, int bytes) {
  static_assert(kBytes == 4 || kBytes == 8 || kBytes == 16, "cp.async moves 4, 8 or 16 bytes");
  if constexpr (!kAsyncCopy) {
    detail::copy_now<kBytes>(shared, global, bytes);
  } else if constexpr (kBytes == 16) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
                 :
                 : "r"(static_cast<unsigned>(__cvta_generic_to_shared(shared))), "l"(global), "r"(bytes)
                 : "memory");
  } else {
    asm volatile("cp.async.ca.shared.global [%0], [%1], %3, %2;"
                 :
                 : "r"(static_cast<unsigned>(__cvta_generic_to_shared(shared))), "l"(global), "r"(bytes), "n"(kBytes)
                 : "memory");
  }
}

template <int kBytes>
__device__ inline void async_copy(void* shared, const void* global) {
  static_assert(kBytes == 4 || kBytes == 8 || kBytes == 16, "cp.async moves 4, 8 or 16 bytes");
  if constexpr (!kAsyncCopy) {
    detail::copy_now<kBytes>(shared, global, kBytes);
  } else if constexpr (kBytes == 16) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;"
                 :
                 : "r"(static_cast<unsigned>(__cvta_generic_to_shared(shared))), "l"(global)
                 : "memory");
  } else {
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2;"
                 :
                 : "r"(static_cast<unsigned>(__cvta_generic_to_shared(shared))), "l"(global), "n"(kBytes)
                 : "memory");
  }
}

// Copies or, where not `valid`, writes zeros and reads nothing: one predicate, where a count of bytes takes a register.
template <int kBytes>
__device__ inline void async_copy_or_zero(void* shared, const void* global, bool valid) {
  static_assert(kBytes == 4 || kBytes == 8 || kBytes == 16, "cp.async moves 4, 8 or 16 bytes");
  if constexpr (!kAsyncCopy) {
    detail::copy_now<kBytes>(shared, global, valid ? kBytes : 0);
  } else if constexpr (kBytes == 16) {
    asm volatile("{ .reg .pred ignore; setp.eq.u32 ignore, %2, 0; cp.async.cg.shared.global [%0], [%1], 16, ignore; }"
                 :
                 : "r"(static_cast<unsigned>(__cvta_generic_to_shared(shared))), "l"(global), "r"(unsigned(valid))
                 : "memory");
  } else {
    asm volatile("{ .reg .pred ignore; setp.eq.u32 ignore, %2, 0; cp.async.ca.shared.global [%0], [%1], %3, ignore; }"
                 :
                 : "r"(static_cast<unsigned>(__cvta_generic_to_shared(shared))), "l"(global), "r"(unsigned(valid)),
                   "n"(kBytes)
                 : "memory");
  }
}

// Closes the copies started since the last call into a group, which may be empty.
__device__ inline void async_commit() {
  if constexpr (kAsyncCopy) asm volatile("cp.async.commit_group;" ::: "memory");
}

// Waits until all of this thread's groups but the newest kPending have landed.
template <int kPending>
__device__ inline void async_wait() {
  if constexpr (kAsyncCopy) asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

#else

template <int kBytes>
void async_copy(void* shared, const void* global, int bytes = kBytes) {
  static_assert(kBytes == 4 || kBytes == 8 || kBytes == 16, "cp.async moves 4, 8 or 16 bytes");
  detail::start_copy(shared, global, kBytes, bytes);
}

template <int kBytes>
void async_copy_or_zero(void* shared, const void* global, bool valid) {
  async_copy<kBytes>(shared, global, valid ? kBytes : 0);
}

inline void async_commit() { detail::close_copy_group(); }

template <int kPending>
void async_wait() {
  detail::finish_copy_groups(kPending);
}

#endif

}  // namespace espalier::simt
