// Warp collectives: shuffles of every width, partial masks, votes; what the masks must name.
#include <doctest/doctest.h>

#include <cmath>
#include <string>
#include <vector>

#include "kernels/simt/simt.h"

using namespace espalier;

namespace {

template <class T>
__global__ void sum_kernel(int width, T* out) {
  T value = T(threadIdx.x);
  for (int offset = width / 2; offset > 0; offset /= 2) value += __shfl_xor_sync(0xFFFFFFFFu, value, offset, width);
  out[threadIdx.x] = value;
}

__global__ void shuffle_kernel(int width, int* out) {
  const int t = int(threadIdx.x);
  out[4 * t] = __shfl_sync(0xFFFFFFFFu, t, 3, width);
  out[4 * t + 1] = __shfl_up_sync(0xFFFFFFFFu, t, 2, width);
  out[4 * t + 2] = __shfl_down_sync(0xFFFFFFFFu, t, 2, width);
  out[4 * t + 3] = __shfl_xor_sync(0xFFFFFFFFu, t, 1, width);
}

constexpr unsigned kThirds = 0x49249249u;  // lanes 0, 3, 6, ... 30

__global__ void partial_kernel(unsigned* out) {
  const unsigned t = threadIdx.x;
  out[t] = t % 3 == 0 ? __shfl_sync(kThirds, t, 30) : __ballot_sync(~kThirds, t % 3 == 1);
}

__global__ void outside_kernel() { __syncwarp(0xFFFFu); }

__global__ void returned_kernel() {
  if (threadIdx.x == 3) return;
  __syncwarp();
}

__global__ void vote_kernel(int* out) {
  const int t = int(threadIdx.x);
  out[3 * t] = __any_sync(0xFFFFFFFFu, t == 5);
  out[3 * t + 1] = __all_sync(0xFFFFFFFFu, t < 32);
  out[3 * t + 2] = __syncthreads_count(t % 2) * 10 + __syncthreads_or(t == 63) * 2 + __syncthreads_and(t >= 0);
}

}  // namespace

TEST_CASE_TEMPLATE("shuffle: sums over segments of every width", T, int, unsigned, float, double, std::int64_t) {
  for (const int width : {2, 4, 8, 16, 32}) {
    std::vector<T> out(64);
    simt::launch(sum_kernel<T>, {dim3(1), dim3(64)}, width, out.data());
    for (int t = 0; t < 64; ++t) {
      const int first = t / width * width;
      CHECK(out[t] == T(width * first + width * (width - 1) / 2));
    }
  }
}

TEST_CASE("shuffle: sources outside the segment give the own value") {
  for (const int width : {4, 8, 32}) {
    std::vector<int> out(4 * 32);
    simt::launch(shuffle_kernel, {dim3(1), dim3(32)}, width, out.data());
    for (int t = 0; t < 32; ++t) {
      CHECK(out[4 * t] == t / width * width + 3);
      CHECK(out[4 * t + 1] == (t % width < 2 ? t : t - 2));
      CHECK(out[4 * t + 2] == (t % width >= width - 2 ? t : t + 2));
      CHECK(out[4 * t + 3] == (t ^ 1));
    }
  }
}

TEST_CASE("vote: any, all and counted barriers") {
  std::vector<int> out(3 * 64);
  simt::launch(vote_kernel, {dim3(1), dim3(64)}, out.data());
  for (int t = 0; t < 64; ++t) {
    CHECK(out[3 * t] == (t < 32));
    CHECK(out[3 * t + 1] == (t < 32));
    CHECK(out[3 * t + 2] == 323);
  }
}

TEST_CASE("warp collectives: disjoint partial masks meet independently") {
  std::vector<unsigned> out(32);
  simt::launch(partial_kernel, {dim3(1), dim3(32)}, out.data());
  for (unsigned t = 0; t < 32; ++t) CHECK(out[t] == (t % 3 == 0 ? 30u : (kThirds << 1)));
}

TEST_CASE("warp collectives: a lane outside the mask, or one that returned, is reported") {
  CHECK_THROWS_WITH_AS(simt::launch(outside_kernel, {dim3(1), dim3(32)}), doctest::Contains("not in the mask"),
                       simt::LaunchError);
  CHECK_THROWS_WITH_AS(simt::launch(returned_kernel, {dim3(1), dim3(32)}), doctest::Contains("already returned"),
                       simt::LaunchError);
}
