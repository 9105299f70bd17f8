// The orders of execution that ESPALIER_THREAD_ORDER chooses. Run once in each by the test suite.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>
#include <numeric>
#include <string>
#include <vector>

#include "kernels/simt/order.h"
#include "kernels/simt/position_set.h"
#include "kernels/simt/simt.h"

using namespace espalier;

namespace {

std::string chosen_order() {
  const char* order = std::getenv("ESPALIER_THREAD_ORDER");
  return order == nullptr ? "forward" : order;
}

// ranks[block][thread] = how many threads of the block came before.
__global__ void rank_kernel(int* tickets, int* ranks) {
  ranks[blockIdx.x * blockDim.x + threadIdx.x] = atomicAdd(&tickets[blockIdx.x], 1);
}

// The last to write wins: differs by order, as a program without synchronisation may.
__global__ void last_writer_kernel(int* last) { *last = int(threadIdx.x); }

// A reduction whose second step lacks a barrier: right only when thread 0 happens to come last.
__global__ void missing_barrier_kernel(const int* in, int* sum) {
  __shared__ int values[64];
  __shared__ int total;
  values[threadIdx.x] = in[threadIdx.x];
  if (threadIdx.x == 0) total = 0;
  __syncthreads();
  values[threadIdx.x] *= 2;
  if (threadIdx.x == 0) {
    for (int i = 0; i < 64; ++i) total += values[i];
    *sum = total;
  }
}

}  // namespace

TEST_CASE("order: threads of a block run in the chosen order") {
  constexpr int kBlocks = 3, kThreads = 48;
  std::vector<int> tickets(kBlocks), ranks(kBlocks * kThreads);
  simt::launch(rank_kernel, {dim3(kBlocks), dim3(kThreads)}, tickets.data(), ranks.data());
  std::vector<int> forward(kThreads);
  std::iota(forward.begin(), forward.end(), 0);
  const std::vector<int> reverse(forward.rbegin(), forward.rend());
  std::vector<std::vector<int>> blocks;
  for (int block = 0; block < kBlocks; ++block) {
    blocks.emplace_back(ranks.begin() + block * kThreads, ranks.begin() + (block + 1) * kThreads);
  }
  if (chosen_order() == "forward") CHECK(blocks[1] == forward);
  if (chosen_order() == "reverse") CHECK(blocks[1] == reverse);
  if (chosen_order() == "shuffled") {
    CHECK(blocks[1] != forward);
    CHECK(blocks[1] != blocks[2]);
    std::sort(blocks[1].begin(), blocks[1].end());
    CHECK(blocks[1] == forward);
  }
}

TEST_CASE("order: every block of a grid has its turn") {
  for (const std::uint64_t count : {1u, 2u, 7u, 64u, 1000u}) {
    std::vector<std::uint64_t> blocks;
    for (std::uint64_t k = 0; k < count; ++k) blocks.push_back(simt::detail::order_block(k, count));
    std::sort(blocks.begin(), blocks.end());
    for (std::uint64_t k = 0; k < count; ++k) CHECK(blocks[k] == k);
  }
}

TEST_CASE("order: a missing barrier is wrong in all orders but the one that hides it") {
  const std::vector<int> in(64, 1);
  int sum = 0, last = 0;
  simt::launch(missing_barrier_kernel, {dim3(1), dim3(64)}, in.data(), &sum);
  simt::launch(last_writer_kernel, {dim3(1), dim3(64)}, &last);
  CHECK((sum == 128) == (chosen_order() == "reverse"));
  if (chosen_order() != "shuffled") CHECK(last == (chosen_order() == "reverse" ? 0 : 63));
}

TEST_CASE("position set: neighbours are found across words") {
  simt::detail::PositionSet set;
  CHECK(set.after(5) == simt::detail::PositionSet::kNone);
  for (const unsigned position : {3u, 63u, 64u, 200u, 1023u}) set.insert(position);
  CHECK(set.first() == 3);
  CHECK(set.size() == 5);
  CHECK(set.after(3) == 63);
  CHECK(set.after(63) == 64);
  CHECK(set.after(64) == 200);
  CHECK(set.after(1023) == 3);
  CHECK(set.before(3) == simt::detail::PositionSet::kNone);
  CHECK(set.before(64) == 63);
  CHECK(set.before(1023) == 200);
  set.erase_below(64);
  CHECK(set.first() == 64);
  set.assign(60, 70);
  CHECK(set.size() == 10);
  CHECK(set.contains(69));
  CHECK(!set.contains(70));
}
