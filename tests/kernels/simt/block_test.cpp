// Threads of a block: order, barriers, early return, divergence.
#include <doctest/doctest.h>

#include <numeric>
#include <string>
#include <vector>

#include "kernels/simt/simt.h"

using namespace espalier;

namespace {

template <class Body>
std::string failure(Body body) {
  try {
    body();
  } catch (const simt::LaunchError& error) {
    return error.what();
  }
  return "";
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

__global__ void index_kernel(int* out) {
  const int block = int(blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z));
  const int thread = int(threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z));
  out[block * int(blockDim.x * blockDim.y * blockDim.z) + thread] += 1;
}

__global__ void reverse_kernel(const int* in, int* out, int rounds) {
  __shared__ int values[1024];
  const int t = int(threadIdx.x), n = int(blockDim.x);
  values[t] = in[t];
  for (int round = 0; round < rounds; ++round) {
    __syncthreads();
    const int other = values[n - 1 - t];
    __syncthreads();
    values[t] = other;
  }
  out[t] = values[t];
}

__global__ void early_return_kernel(int leave, int* sum) {
  __shared__ int values[128];
  const int t = int(threadIdx.x);
  if (t % leave == 1) return;
  values[t] = t;
  __syncthreads();
  int total = 0;
  for (int i = 0; i < int(blockDim.x); ++i) {
    if (i % leave != 1) total += values[i];
  }
  __syncthreads();
  sum[t] = total;
}

__global__ void divergent_kernel() {
  if (threadIdx.x < 5) __syncthreads();
  __syncthreads();
}

__global__ void half_warp_kernel() {
  if (threadIdx.x < 5)
    __syncthreads();
  else
    __syncwarp();
}

__global__ void throwing_kernel(unsigned culprit) {
  const std::string owned(100, 'x');  // must be destroyed in every thread
  __syncthreads();
  if (threadIdx.x == culprit) throw std::out_of_range("bad index");
  __syncthreads();
}

// Rounds in which threads drop out and some warps meet in between: after each barrier, all that were to arrive have.
__global__ void rounds_kernel(unsigned seed, int rounds, int* wrong) {
  __shared__ int arrived[16];
  const unsigned t = threadIdx.x, last_round = (t * 2654435761u + seed) % 16;
  const auto stays = [&](unsigned thread, int round) {
    return (thread * 2654435761u + seed) % 16 >= unsigned(round) || thread / 32 == seed % 4;
  };
  if (t < 16) arrived[t] = 0;
  __syncthreads();
  for (int round = 0; round < rounds; ++round) {
    if (last_round < unsigned(round) && t / 32 != seed % 4) return;
    if (t / 32 == seed % 4) {  // this warp stays whole
      for (int step = 0; step < round; ++step) *wrong += __shfl_xor_sync(0xFFFFFFFFu, t, 1) != (t ^ 1u);
    }
    arrived[round] += 1;
    __syncthreads();
    int expected = 0;
    for (unsigned other = 0; other < blockDim.x; ++other) expected += stays(other, round);
    if (arrived[round] != expected) *wrong += 1;
    if (round % 3 == 2 && __syncthreads_count(1) != expected) *wrong += 1;
  }
}

}  // namespace

TEST_CASE("__syncthreads: threads that drop out and warps that meet in between do not disturb it") {
  for (unsigned seed = 0; seed < 40; ++seed) {
    int wrong = 0;
    simt::launch(rounds_kernel, {dim3(1), dim3(128)}, seed, 12, &wrong);
    CHECK(wrong == 0);
  }
}

TEST_CASE("launch: every thread of every block runs once") {
  std::vector<int> out(3 * 2 * 2 * 5 * 4 * 3);
  simt::launch(index_kernel, {dim3(3, 2, 2), dim3(5, 4, 3)}, out.data());
  CHECK(out == std::vector<int>(out.size(), 1));
}

TEST_CASE("__syncthreads: neighbours' values are visible after it") {
  for (const int n : {1, 2, 31, 32, 33, 64, 255, 1024}) {
    std::vector<int> in(n), out(n);
    std::iota(in.begin(), in.end(), 0);
    simt::launch(reverse_kernel, {dim3(1), dim3(unsigned(n))}, in.data(), out.data(), 2);
    CHECK(out == in);
    simt::launch(reverse_kernel, {dim3(1), dim3(unsigned(n))}, in.data(), out.data(), 3);
    CHECK(out[0] == n - 1);
  }
}

TEST_CASE("__syncthreads: threads that returned do not count") {
  std::vector<int> sum(100, -1);
  for (const int leave : {2, 3, 7}) {
    int expected = 0;
    for (int i = 0; i < 100; ++i) expected += i % leave != 1 ? i : 0;
    simt::launch(early_return_kernel, {dim3(1), dim3(100)}, leave, sum.data());
    CHECK(sum[0] == expected);
    CHECK(sum[99] == (99 % leave == 1 ? sum[99] : expected));
  }
}

TEST_CASE("__syncthreads: divergence is reported with counts and places") {
  const std::string report = failure([] { simt::launch(divergent_kernel, {dim3(1), dim3(32)}); });
  CHECK(contains(report, "live threads arrived at __syncthreads"));
  CHECK(contains(report, "block_test.cpp"));
  const std::string half = failure([] { simt::launch(half_warp_kernel, {dim3(1), dim3(32)}); });
  CHECK(contains(half, "5 of 32 live threads arrived at __syncthreads"));
  CHECK(contains(half, "27 of 32 live threads wait in a warp collective"));
}

TEST_CASE("launch: an exception in a kernel reaches the launcher with block and thread") {
  for (int round = 0; round < 3; ++round) {
    const std::string report = failure([] { simt::launch(throwing_kernel, {dim3(4), dim3(64)}, 7u); });
    CHECK(contains(report, "bad index"));
    CHECK(contains(report, "thread (7, 0, 0)"));
  }
}
