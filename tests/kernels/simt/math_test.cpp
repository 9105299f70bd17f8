// Intrinsics and atomics of the cpu build against their definitions.
#include <doctest/doctest.h>

#include <cstdint>
#include <vector>

#include "kernels/simt/simt.h"

using namespace espalier;

namespace {

struct Totals {
  int added = 0, largest = -1, smallest = 1000000, last = -1;
  unsigned bits = 0, wrapped = 0;
  unsigned long long wide = 0;
  float real = 0;
  double precise = 0;
};

__global__ void atomic_kernel(Totals* totals) {
  const int i = int(blockIdx.x * blockDim.x + threadIdx.x);
  atomicAdd(&totals->added, i);
  atomicMax(&totals->largest, i);
  atomicMin(&totals->smallest, i);
  atomicExch(&totals->last, i);
  atomicOr(&totals->bits, 1u << (i % 32));
  atomicInc(&totals->wrapped, 9);
  atomicAdd(&totals->wide, 1ull << 33);
  atomicAdd(&totals->real, 0.5f);
  atomicAdd(&totals->precise, 0.25);
}

// A spin lock: works only where a waiting thread lets others run; here each holder leaves before the next tries.
__global__ void compare_and_swap_kernel(int* lock, int* count) {
  while (atomicCAS(lock, 0, 1) != 0) {
  }
  *count += 1;
  atomicExch(lock, 0);
}

}  // namespace

TEST_CASE("atomics: no update is lost between blocks") {
  Totals totals;
  constexpr int kCount = 200 * 50;
  simt::launch(atomic_kernel, {dim3(200), dim3(50)}, &totals);
  CHECK(totals.added == kCount * (kCount - 1) / 2);
  CHECK(totals.largest == kCount - 1);
  CHECK(totals.smallest == 0);
  CHECK(totals.last >= 0);
  CHECK(totals.bits == 0xFFFFFFFFu);
  CHECK(totals.wrapped == kCount % 10);
  CHECK(totals.wide == kCount * (1ull << 33));
  CHECK(totals.real == kCount * 0.5f);
  CHECK(totals.precise == kCount * 0.25);
}

TEST_CASE("atomics: compare and swap locks") {
  int lock = 0, count = 0;
  simt::launch(compare_and_swap_kernel, {dim3(64), dim3(40)}, &lock, &count);
  CHECK(count == 64 * 40);
}

TEST_CASE("intrinsics: bits") {
  CHECK(__popc(0xF0F0u) == 8);
  CHECK(__popcll(~0ull) == 64);
  CHECK(__clz(1) == 31);
  CHECK(__clz(0) == 32);
  CHECK(__ffs(0) == 0);
  CHECK(__ffs(8) == 4);
  CHECK(__brev(1u) == 0x80000000u);
  CHECK(__brev(0x12345678u) == 0x1E6A2C48u);
  CHECK(__umulhi(0xFFFFFFFFu, 0xFFFFFFFFu) == 0xFFFFFFFEu);
  CHECK(__mulhi(-2, 0x40000000) == -1);
  CHECK(__funnelshift_l(0x80000000u, 1u, 1) == 3u);
  CHECK(__funnelshift_r(0u, 1u, 1) == 0x80000000u);
  CHECK(__float_as_uint(1.0f) == 0x3F800000u);
  CHECK(__uint_as_float(0x40000000u) == 2.0f);
}

TEST_CASE("intrinsics: numbers") {
  CHECK(rsqrtf(4.0f) == 0.5f);
  CHECK(__fmaf_rn(2.0f, 3.0f, 1.0f) == 7.0f);
  CHECK(__expf(0.0f) == 1.0f);
  CHECK(__fdividef(1.0f, 4.0f) == 0.25f);
  CHECK(__saturatef(-1.0f) == 0.0f);
  CHECK(__saturatef(0.5f) == 0.5f);
  CHECK(__saturatef(2.0f) == 1.0f);
  CHECK(__float2int_rn(2.5f) == 2);
  CHECK(__float2int_rz(-2.7f) == -2);
  CHECK(min(3, 2) == 2);
  CHECK(max(1.0f, 2.0f) == 2.0f);
  const float4 v = make_float4(1, 2, 3, 4);
  CHECK(v.x + v.w == 5.0f);
}
