// The scheduler of one OS thread's blocks: which thread of the block runs next. Not for users; block.h is its inlined
// side. Two states: the ring of block.h, and the free state, where sets say who can run, entered by warp collectives.
// When no thread can run, none ever will: that wait is reported, not hung.
#pragma once
#include <array>
#include <atomic>
#include <cstdint>
#include <exception>
#include <string>

#include "kernels/simt/block.h"
#include "kernels/simt/position_set.h"
#include "kernels/simt/shared_memory.h"
#include "kernels/simt/warp.h"

namespace espalier::simt {
struct Launch;
}

namespace espalier::simt::detail {

// One launch, shared by the OS threads that run it. Each takes chunks from its own share of the blocks, the same at
// every launch, so that it finds in its caches what it wrote there; who is done takes from the others.
struct Grid {
  const Launch* launch = nullptr;
  const void* kernel = nullptr;
  Entry entry = nullptr;
  const void* closure = nullptr;
  std::uint64_t blocks = 0, chunk = 1;
  static constexpr unsigned kMaxShares = 64;
  struct alignas(64) Share {
    std::atomic<std::uint64_t> next;
    std::uint64_t end;
  };
  unsigned shares = 1;
  Share share[kMaxShares];

  void share_out(std::size_t workers);  // once the fields above are known
};

class BlockScheduler {
 public:
  BlockScheduler();
  static BlockScheduler& of_this_thread();

  void run(Grid& grid, unsigned worker);  // blocks until none is left; throws what a kernel threw

  Lane* retire(Fiber& self);
  Lane& arrive_slowly(std::source_location site);
  Lane& vote(int predicate, std::source_location site);
  int verdict() const { return verdict_; }
  Lane* join_first(unsigned mask, std::source_location site);
  Lane& give_way(Lane& lane);  // who runs while that lane waits
  void release(unsigned mask);

 private:
  static void fiber_body();
  void prepare_lanes();
  bool next_block();
  void first_suspension();
  Lane* after_return();
  void fail(std::exception_ptr error);

  Lane& join_ring(Lane& lane, std::source_location site);
  void close_ring();
  void leave_ring();
  Lane& after_return_in_ring(Lane& lane);
  void release_barrier();
  Lane& arrive_free(Lane& lane, std::source_location site);
  Lane& runnable_after(const Lane& lane);
  Lane& ready_to_begin(Lane& lane);
  std::string divergence() const;
  static const WarpGroup* group_of(const Lane& lane);  // it waits in, if any

  FiberPool fibers_;
  Fiber thread_stack_;
  Lane outside_;                // stands for the launching code, on the OS thread's own stack
  Fiber* beginning_ = nullptr;  // the fiber of the threads that have not waited yet
  SharedMemory shared_;

  Grid* grid_ = nullptr;
  bool take_chunk();

  std::uint64_t block_ = 0, chunk_end_ = 0;
  unsigned share_ = 0;             // whose blocks it takes: its own to begin with
  dim3 prepared_for_ = {0, 0, 0};  // the block shape that lanes_ describes
  std::array<Lane, kMaxThreads> lanes_;
  std::array<std::uint16_t, kMaxThreads> position_of_thread_;
  std::array<Warp, kMaxThreads / kWarpThreads> warps_;
  std::exception_ptr error_;
  bool forward_ = true;

  // Of a block in which some thread has waited:
  PositionSet live_;  // not returned, begun or not
  unsigned live_count_ = 0;
  bool in_ring_ = false, ring_is_open_ = false;  // open: threads are still joining, at their first barrier
  bool ring_is_current_ = false;                 // its links still name all live threads
  Lane *head_ = nullptr, *tail_ = nullptr;
  std::source_location barrier_site_;  // where those that have arrived wait
  PositionSet ready_;                  // of the free state
  unsigned arrived_ = 0;
  int votes_ = 0, verdict_ = 0;
};

bool same_line(const std::source_location& a, const std::source_location& b);
inline bool same_place(const std::source_location& a, const std::source_location& b) {
  return place(a) == place(b) || same_line(a, b);  // instances of a template have locations of their own
}
std::string text(const uint3& index);
std::string text(const std::source_location& site);
std::string hex(unsigned mask);

}  // namespace espalier::simt::detail
