// Runs the blocks of a grid on the machine's threads: a pool that lives as long as the process takes blocks from a
// shared counter, the launching thread among them. A launch of one block never leaves its caller.
#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "kernels/simt/simt.h"
#include "kernels/simt/threads.h"

namespace espalier::simt {

unsigned worker_threads() {
  static const unsigned count = [] {
    const char* text = std::getenv("ESPALIER_THREADS");
    const int wanted = text == nullptr ? 0 : std::atoi(text);
    const unsigned hardware = std::max(1u, std::thread::hardware_concurrency());
    return wanted > 0 ? unsigned(wanted) : hardware;
  }();
  return count;
}

namespace detail {
namespace {

struct Grid {
  const Launch* launch;
  Entry entry;
  const void* closure;
  std::uint64_t blocks, chunk;
  std::atomic<std::uint64_t> next{0};
  std::mutex mutex{};
  std::exception_ptr error{};

  void work() {
    for (;;) {
      const std::uint64_t begin = next.fetch_add(chunk, std::memory_order_relaxed);
      if (begin >= blocks) return;
      try {
        run_blocks(*launch, entry, closure, begin, std::min(blocks, begin + chunk));
      } catch (...) {
        const std::lock_guard lock(mutex);
        if (!error) error = std::current_exception();
        next = blocks;
      }
    }
  }
};

class Pool {
 public:
  Pool() {
    for (unsigned i = 1; i < worker_threads(); ++i)
      threads_.emplace_back([this](std::stop_token stop) { serve(stop); });
  }
  ~Pool() {
    for (std::jthread& thread : threads_) thread.request_stop();
    wake_.notify_all();
  }

  void run(Grid& grid) {
    if (grid.blocks == 1 || threads_.empty() || !busy_.try_lock()) return grid.work();
    const std::lock_guard busy(busy_, std::adopt_lock);
    {
      const std::lock_guard lock(mutex_);
      grid_ = &grid;
      ++generation_;
    }
    wake_.notify_all();
    grid.work();
    std::unique_lock lock(mutex_);
    grid_ = nullptr;
    idle_.wait(lock, [this] { return inside_ == 0; });
  }

 private:
  void serve(std::stop_token stop) {
    std::uint64_t seen = 0;
    std::unique_lock lock(mutex_);
    for (;;) {
      wake_.wait(lock, stop, [&] { return generation_ != seen && grid_ != nullptr; });
      if (stop.stop_requested()) return;
      seen = generation_;
      Grid& grid = *grid_;
      ++inside_;
      lock.unlock();
      grid.work();
      lock.lock();
      if (--inside_ == 0) idle_.notify_all();
    }
  }

  std::mutex busy_, mutex_;
  std::condition_variable_any wake_;
  std::condition_variable_any idle_;
  Grid* grid_ = nullptr;
  std::uint64_t generation_ = 0;
  unsigned inside_ = 0;
  std::vector<std::jthread> threads_;
};

[[noreturn]] void refuse(const Launch& launch, const std::string& why) {
  throw LaunchError(describe(launch) + ": " + why);
}

}  // namespace

void validate(const Launch& launch) {
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
}

void run_grid(const Launch& launch, Entry entry, const void* closure) {
  static Pool pool;
  if (here.count != 0) refuse(launch, "launched from inside a kernel; only the host launches");
  const std::uint64_t blocks = std::uint64_t{launch.grid.x} * launch.grid.y * launch.grid.z;
  const std::uint64_t chunk = std::max<std::uint64_t>(1, std::min<std::uint64_t>(64, blocks / (8 * worker_threads())));
  Grid grid{&launch, entry, closure, blocks, chunk};
  pool.run(grid);
  if (grid.error) std::rethrow_exception(grid.error);
}

}  // namespace detail
}  // namespace espalier::simt
