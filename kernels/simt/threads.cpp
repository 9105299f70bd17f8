// A pool that lives as long as the process. The launching thread publishes its grid, takes blocks like the others, and
// at the end waits only for workers that came in, so a launch never waits for one that still sleeps. A worker without
// work watches for kSpin before it sleeps: launches of a training step follow each other within microseconds, and
// waking a sleeper costs the launcher 2 to 5 us where a watching one costs 0.3.
#include "kernels/simt/threads.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "kernels/simt/block_scheduler.h"
#include "kernels/simt/order.h"

namespace espalier::simt {

unsigned worker_threads() {
  static const unsigned count = [] {
    const std::uint64_t hardware = std::max(1u, std::thread::hardware_concurrency());
    return unsigned(std::clamp<std::uint64_t>(detail::environment_number("ESPALIER_THREADS", hardware), 1, 1024));
  }();
  return count;
}

namespace detail {
namespace {

constexpr std::chrono::microseconds kSpin{50};

void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  std::this_thread::yield();
#endif
}

// Watches for `done` for kSpin; false when it did not come.
template <class Condition>
bool spin_until(Condition done) {
  const auto end = std::chrono::steady_clock::now() + kSpin;
  do {
    for (int i = 0; i < 32; ++i) {
      if (done()) return true;
      relax();
    }
  } while (std::chrono::steady_clock::now() < end);
  return false;
}

class Pool {
 public:
  Pool() {
    for (unsigned i = 1; i < worker_threads(); ++i) threads_.emplace_back([this, i] { serve(i); });
  }
  ~Pool() {
    stopping_ = true;
    epoch_.fetch_add(1);
    epoch_.notify_all();
  }

  void run(Grid& grid) {
    const std::unique_lock only(launching_, std::try_to_lock);  // another host thread's launch has the workers
    if (grid.blocks == 1 || threads_.empty() || !only) {
      grid.share_out(1);
      return BlockScheduler::of_this_thread().run(grid, 0);
    }
    grid.share_out(threads_.size() + 1);
    grid_ = &grid;
    error_ = nullptr;
    gate_.fetch_or(kOpen);
    epoch_.fetch_add(1);
    const std::uint64_t others = std::min<std::uint64_t>(threads_.size(), (grid.blocks - 1) / grid.chunk);
    if (others >= threads_.size())
      epoch_.notify_all();
    else
      for (std::uint64_t i = 0; i < others; ++i) epoch_.notify_one();
    work(0);
    gate_.fetch_and(~kOpen);
    const auto left = [this] { return gate_.load() == 0; };
    while (!spin_until(left)) std::this_thread::yield();
    if (error_) std::rethrow_exception(error_);
  }

 private:
  void serve(unsigned worker) {
    int seen = 0;
    while (!stopping_) {
      const auto published = [&] { return epoch_.load() != seen; };
      if (!spin_until(published)) epoch_.wait(seen);
      seen = epoch_.load();
      if ((gate_.fetch_add(1) & kOpen) != 0) work(worker);
      gate_.fetch_sub(1);
    }
  }

  void work(unsigned worker) {
    try {
      BlockScheduler::of_this_thread().run(*grid_, worker);
    } catch (...) {
      const std::lock_guard lock(error_mutex_);
      if (!error_) error_ = std::current_exception();
    }
  }

  static constexpr unsigned kOpen = 1u << 31;
  std::atomic<unsigned> gate_{0};  // kOpen while a grid may be entered, plus the number of workers inside
  std::atomic<int> epoch_{0};      // grids published
  std::atomic<bool> stopping_{false};
  Grid* grid_ = nullptr;
  std::mutex launching_, error_mutex_;
  std::exception_ptr error_;
  std::vector<std::jthread> threads_;
};

}  // namespace

void run_on_threads(Grid& grid) {
  static Pool pool;
  pool.run(grid);
}

}  // namespace detail
}  // namespace espalier::simt
