// Asynchronous copies: what lands when, the zeros after a short copy, and that a missing wait or barrier shows.
#include "kernels/simt/async_copy.h"

#include <doctest/doctest.h>

#include <cmath>
#include <vector>

using namespace espalier;

namespace {

enum class Missing { nothing, wait, barrier };

// out[i] = in[n - 1 - i] by blocks of 64, four floats a copy.
template <Missing kMissing>
__global__ void mirror_kernel(const float* in, float* out) {
  __shared__ float values[64];
  const unsigned t = threadIdx.x, first = blockIdx.x * 64;
  if (t < 16) simt::async_copy<16>(values + 4 * t, in + first + 4 * t);
  simt::async_commit();
  if (kMissing != Missing::wait) simt::async_wait<0>();
  if (kMissing != Missing::barrier) __syncthreads();
  out[first + t] = values[63 - t];
}

template <Missing kMissing>
int wrong_mirrored() {
  std::vector<float> in(4 * 64), out(in.size());
  for (std::size_t i = 0; i < in.size(); ++i) in[i] = float(i);
  simt::launch(mirror_kernel<kMissing>, {dim3(4), dim3(64)}, in.data(), out.data());
  int wrong = 0;
  for (std::size_t i = 0; i < in.size(); ++i) wrong += out[i] != in[i / 64 * 64 + 63 - i % 64];
  return wrong;
}

template <int kBytes>
__global__ void short_copy_kernel(const float* in, float* out, int bytes) {
  __shared__ float4 room;
  float* values = &room.x;
  simt::async_copy<kBytes>(values, in, bytes);
  simt::async_commit();
  simt::async_wait<0>();
  for (int i = 0; i < kBytes / 4; ++i) out[i] = values[i];
}

template <int kBytes>
void check_short_copies() {
  alignas(16) const float in[4] = {1, 2, 3, 4};
  for (int bytes = 0; bytes <= kBytes; bytes += 4) {
    float out[4] = {-1, -1, -1, -1};
    simt::launch(short_copy_kernel<kBytes>, {dim3(1), dim3(1)}, in, out, bytes);
    INFO("copies of ", kBytes, " bytes, ", bytes, " of them read");
    for (int i = 0; i < kBytes / 4; ++i) CHECK(out[i] == (4 * i < bytes ? in[i] : 0.0f));
  }
}

// Three groups of one copy each; after waiting for all but one, the third has not landed.
__global__ void pipeline_kernel(const float* in, float* seen) {
  __shared__ float stage[3];
  for (int i = 0; i < 3; ++i) {
    simt::async_copy<4>(stage + i, in + i);
    simt::async_commit();
  }
  simt::async_wait<1>();
  for (int i = 0; i < 3; ++i) seen[i] = stage[i];
  simt::async_wait<0>();
  seen[3] = stage[2];
}

__global__ void leave_in_flight_kernel(const float* in) {
  __shared__ float value;
  simt::async_copy<4>(&value, in);
  if (threadIdx.x % 2 == 0) simt::async_commit();
}

__global__ void empty_wait_kernel(float* seen) {
  __shared__ float value[64];
  value[threadIdx.x] = 1.0f;
  simt::async_commit();
  simt::async_wait<0>();
  seen[threadIdx.x] = value[threadIdx.x];
}

__global__ void copy_kernel(const float* in, int offset, int bytes) {
  __shared__ float4 room[2];
  simt::async_copy<16>(&room[0].x + offset, in, bytes);
}

}  // namespace

TEST_CASE("asynchronous copy: a block mirrors what it copied") { CHECK(wrong_mirrored<Missing::nothing>() == 0); }

TEST_CASE("asynchronous copy: without the wait nothing has arrived") {
  CHECK(wrong_mirrored<Missing::wait>() == 4 * 64);
}

TEST_CASE("asynchronous copy: without the barrier other threads' copies have not arrived") {
  CHECK(wrong_mirrored<Missing::barrier>() > 0);
}

TEST_CASE("asynchronous copy: what is not read becomes zero") {
  check_short_copies<4>();
  check_short_copies<8>();
  check_short_copies<16>();
}

TEST_CASE("asynchronous copy: nothing is read of a source of no bytes") {
  float out[4];
  simt::launch(short_copy_kernel<16>, {dim3(1), dim3(1)}, nullptr, out, 0);
  for (const float value : out) CHECK(value == 0.0f);
}

TEST_CASE("asynchronous copy: a wait leaves the newest groups in flight") {
  const float in[3] = {1, 2, 3};
  float seen[4] = {};
  simt::launch(pipeline_kernel, {dim3(1), dim3(1)}, in, seen);
  CHECK(seen[0] == 1.0f);
  CHECK(seen[1] == 2.0f);
  CHECK(std::isnan(seen[2]));
  CHECK(seen[3] == 3.0f);
}

TEST_CASE("asynchronous copy: what a block leaves in flight does not land in the next") {
  const float in = 7.0f;
  std::vector<float> seen(64);
  simt::launch(leave_in_flight_kernel, {dim3(50), dim3(64)}, &in);
  simt::launch(empty_wait_kernel, {dim3(1), dim3(64)}, seen.data());
  for (const float value : seen) CHECK(value == 1.0f);
}

TEST_CASE("asynchronous copy: what hardware faults on is refused") {
  alignas(16) const float in[8] = {};
  CHECK_THROWS_AS(simt::launch(copy_kernel, {dim3(1), dim3(1)}, in, 1, 16), simt::LaunchError);
  CHECK_THROWS_AS(simt::launch(copy_kernel, {dim3(1), dim3(1)}, in + 1, 0, 16), simt::LaunchError);
  CHECK_THROWS_AS(simt::launch(copy_kernel, {dim3(1), dim3(1)}, in, 0, 20), simt::LaunchError);
  CHECK_NOTHROW(simt::launch(copy_kernel, {dim3(1), dim3(1)}, in, 0, 8));
}
