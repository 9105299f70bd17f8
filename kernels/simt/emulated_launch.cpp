// What a GPU refuses is refused here too, before any block runs.
#include <algorithm>
#include <string>
#include <utility>

#include "kernels/simt/block_scheduler.h"
#include "kernels/simt/emulated_stream.h"
#include "kernels/simt/simt.h"
#include "kernels/simt/threads.h"

namespace espalier::simt::detail {
namespace {

[[noreturn]] void refuse(const Launch& launch, const std::string& why) {
  throw LaunchError(describe(launch) + ": " + why);
}

}  // namespace

void validate(const Launch& launch, [[maybe_unused]] const void* kernel) {
  const dim3 grid = launch.grid, block = launch.block;
  const std::uint64_t threads = std::uint64_t{block.x} * block.y * block.z;
  if (threads == 0) refuse(launch, "the block is empty; give every dimension at least 1");
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) {
    refuse(launch, "the grid is empty; return before launching when there is nothing to do");
  }
  if (block.x > 1024 || block.y > 1024 || block.z > 64 || threads > kMaxThreads) {
    refuse(launch, std::to_string(threads) + " threads; a block holds at most 1024, of at most 1024 x 1024 x 64");
  }
  if (grid.x > 2147483647u || grid.y > 65535u || grid.z > 65535u) {
    refuse(launch, "a grid holds at most 2147483647 x 65535 x 65535 blocks; loop in the kernel");
  }
  if (launch.dynamic_shared_bytes > kMaxSharedBytes) {
    refuse(launch, "a block has at most " + std::to_string(kMaxSharedBytes) + " bytes of shared memory");
  }
  if constexpr (kChecks) {
    const std::size_t static_bytes = shared_variables_of(kernel).own_bytes();
    if (static_bytes + launch.dynamic_shared_bytes > kMaxSharedBytes) {
      refuse(launch, std::to_string(static_bytes) + " bytes of static shared memory more; a block has at most " +
                         std::to_string(kMaxSharedBytes));
    }
  }
  if (here.count != 0) refuse(launch, "launched from inside a kernel; only the host launches");
}

// To the launch's stream, which runs or records it.
void submit(const Launch& launch, std::function<void()> run) {
  const cudaError_t status = submit(launch.stream, cudaGraphNodeTypeKernel, std::move(run));
  if (status != cudaSuccess) refuse(launch, cudaGetErrorString(status));
}

void run_grid(const Launch& launch, const void* kernel, Entry entry, const void* closure) {
  Grid grid;
  grid.launch = &launch, grid.kernel = kernel, grid.entry = entry, grid.closure = closure;
  grid.blocks = std::uint64_t{launch.grid.x} * launch.grid.y * launch.grid.z;
  grid.chunk = std::clamp<std::uint64_t>(grid.blocks / (8 * worker_threads()), 1, 64);
  run_on_threads(grid);
}

// A launch of its own; those that a graph replays are part of the graph's range.
void run_grid_in_range(const Launch& launch, const void* kernel, Entry entry, const void* closure) {
  const Range range("kernel", [&] { return range_text(launch); });
  run_grid(launch, kernel, entry, closure);
}

}  // namespace espalier::simt::detail
