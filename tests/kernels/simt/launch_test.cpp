// launch(): what it refuses, as a GPU would; how errors come back; blocks on several OS threads; stacks.
#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdint>
#include <thread>
#include <vector>

#include "kernels/simt/simt.h"

using namespace espalier;

namespace {

__global__ void nothing_kernel() {}

__global__ void count_kernel(int* count) { atomicAdd(count, 1); }

__global__ void launching_kernel() { simt::launch(nothing_kernel, {dim3(1), dim3(1)}); }

struct Pair {
  int first, second;
};
__global__ void argument_kernel(Pair pair, std::int64_t wide, const float* in, double* out) {
  *out = pair.first * 1000.0 + pair.second * 100.0 + double(wide) + double(*in);
}

__global__ void dynamic_kernel(int count, int* out) {
  int* values = simt::dynamic_shared<int>();
  for (int i = int(threadIdx.x); i < count; i += int(blockDim.x)) values[i] = i;
  __syncthreads();
  if (threadIdx.x == 0) *out = values[count - 1];
}

// Uses `bytes` of stack, then waits, so that all threads hold theirs at once.
__global__ void stack_kernel(int bytes, int* out) {
  auto* array = static_cast<volatile char*>(__builtin_alloca(std::size_t(bytes)));
  for (int i = 0; i < bytes; i += 512) array[i] = char(threadIdx.x);
  __syncthreads();
  int wrong = 0;
  for (int i = 0; i < bytes; i += 512) wrong += array[i] != char(threadIdx.x);
  atomicAdd(out, wrong);
}

// How a child process that runs `body` ends; 0 when it returns.
template <class Body>
int status_of_child(Body body) {
  const pid_t child = fork();
  if (child == 0) {
    for (const int signal : {SIGSEGV, SIGBUS}) std::signal(signal, SIG_DFL);  // no report of the expected crash
    body();
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return status;
}

void expect_refusal(dim3 grid, dim3 block, std::size_t dynamic_bytes, const char* why) {
  const simt::Launch launch{grid, block, dynamic_bytes};
  CHECK_THROWS_WITH_AS(simt::launch(nothing_kernel, launch), doctest::Contains(why), simt::LaunchError);
}

}  // namespace

TEST_CASE("launch: refuses what a GPU refuses, with the values") {
  expect_refusal(dim3(1), dim3(1025), 0, "1025 threads; a block holds at most 1024");
  expect_refusal(dim3(1), dim3(32, 33), 0, "block (32, 33, 1)");
  expect_refusal(dim3(1), dim3(1, 1, 65), 0, "1024 x 1024 x 64");
  expect_refusal(dim3(1), dim3(0), 0, "the block is empty");
  expect_refusal(dim3(0), dim3(32), 0, "the grid is empty");
  expect_refusal(dim3(1, 65536), dim3(1), 0, "at most 2147483647 x 65535 x 65535 blocks");
  expect_refusal(dim3(1), dim3(1), 227 * 1024 + 1, "232449 bytes of dynamic shared memory");
  expect_refusal(dim3(0), dim3(1), 0, "launch_test.cpp");
}

TEST_CASE("launch: takes the largest block and the largest shared memory") {
  int count = 0;
  simt::launch(count_kernel, {dim3(2, 3, 4), dim3(1024)}, &count);
  simt::launch(count_kernel, {dim3(1), dim3(4, 4, 64)}, &count);
  CHECK(count == 25 * 1024);
  int last = 0;
  simt::launch(dynamic_kernel, {dim3(1), dim3(64), 227 * 1024}, 227 * 256, &last);
  CHECK(last == 227 * 256 - 1);
}

TEST_CASE("launch: arguments convert to the kernel's parameters") {
  const float in = 0.5f;
  double out = 0;
  simt::launch(argument_kernel, {dim3(1), dim3(1)}, Pair{1, 2}, 7, &in, &out);
  CHECK(out == 1207.5);
}

TEST_CASE("launch: a kernel does not launch, and the next launch is unharmed") {
  CHECK_THROWS_WITH_AS(simt::launch(launching_kernel, {dim3(1), dim3(1)}),
                       doctest::Contains("launched from inside a kernel"), simt::LaunchError);
  int count = 0;
  simt::launch(count_kernel, {dim3(100), dim3(3)}, &count);
  CHECK(count == 300);
}

TEST_CASE("launch: from several host threads at once") {
  std::vector<int> counts(4);
  std::vector<std::jthread> hosts;
  for (int& count : counts) {
    hosts.emplace_back([&count] {
      for (int i = 0; i < 50; ++i) simt::launch(count_kernel, {dim3(20), dim3(7)}, &count);
    });
  }
  hosts.clear();
  CHECK(counts == std::vector<int>(4, 50 * 140));
}

TEST_CASE("launch: threads keep their stacks apart, and an overflow is a fault") {
  int wrong = 0;
  simt::launch(stack_kernel, {dim3(1), dim3(300)}, 64 * 1024, &wrong);
  CHECK(wrong == 0);
  const auto overflow = [&] {
    simt::launch(stack_kernel, {dim3(1), dim3(2)}, int(simt::kFiberStackBytes) * 3 / 2, &wrong);
  };
  CHECK(status_of_child([] {}) == 0);
  CHECK(status_of_child(overflow) != 0);
}
