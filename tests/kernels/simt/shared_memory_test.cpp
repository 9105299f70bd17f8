// Shared memory: static and dynamic, in kernels, templates and device functions; poisoned per block in check builds.
#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <vector>

#include "kernels/simt/shared_memory.h"
#include "kernels/simt/simt.h"

using namespace espalier;

namespace {

__device__ float* scratch() {
  __shared__ float values[8];
  return values;
}

// Looks before anybody wrote, writes afterwards: the next block must not find it.
template <int kSize>
__global__ void peek_kernel(float* seen) {
  __shared__ float tile[kSize];
  __shared__ float single;
  float* dynamic = simt::dynamic_shared<float>();
  float* found = seen + 5 * blockIdx.x;
  found[0] = tile[0];
  found[1] = tile[kSize - 1];
  found[2] = single;
  found[3] = dynamic[kSize - 1];
  found[4] = scratch()[7];
  tile[0] = tile[kSize - 1] = single = dynamic[kSize - 1] = scratch()[7] = 1.0f;
}

__global__ void address_kernel(std::uintptr_t* addresses) {
  __shared__ char odd[3];
  __shared__ float4 vector;
  addresses[0] = reinterpret_cast<std::uintptr_t>(&odd[0]);
  addresses[1] = reinterpret_cast<std::uintptr_t>(&vector);
  addresses[2] = reinterpret_cast<std::uintptr_t>(simt::dynamic_shared<float4>());
  odd[0] = 0;
}

// out[i] = in[n - 1 - i], through shared memory; the barrier is what makes it right.
template <bool kBarrier>
__global__ void mirror_kernel(const float* in, float* out) {
  __shared__ float values[64];
  const unsigned t = threadIdx.x, first = blockIdx.x * 64;
  values[t] = in[first + t];
  if (kBarrier) __syncthreads();
  out[first + t] = values[63 - t];
}

}  // namespace

TEST_CASE("shared memory: check builds poison it for every block") {
  if (!simt::detail::kChecks) return;
  std::vector<float> seen(5 * 20, 0.0f);
  simt::launch(peek_kernel<37>, {dim3(20), dim3(1), 37 * sizeof(float)}, seen.data());
  for (const float value : seen) CHECK(std::isnan(value));
}

TEST_CASE("shared memory: aligned for vectors") {
  std::uintptr_t addresses[3] = {};
  simt::launch(address_kernel, {dim3(1), dim3(1), 48}, addresses);
  for (const std::uintptr_t address : addresses) CHECK(address % 16 == 0);
}

TEST_CASE("shared memory: a missing barrier gives wrong values in every order") {
  std::vector<float> in(4 * 64), out(in.size());
  for (std::size_t i = 0; i < in.size(); ++i) in[i] = float(i);
  const auto wrong = [&] {
    int count = 0;
    for (std::size_t i = 0; i < out.size(); ++i) count += out[i] != in[i / 64 * 64 + 63 - i % 64];
    return count;
  };
  simt::launch(mirror_kernel<true>, {dim3(4), dim3(64)}, in.data(), out.data());
  CHECK(wrong() == 0);
  simt::launch(mirror_kernel<false>, {dim3(4), dim3(64)}, in.data(), out.data());
  CHECK(wrong() > 0);
}
