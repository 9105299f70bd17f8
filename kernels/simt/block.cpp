// The life of a block: its threads are laid out in order, begun on fibers, counted out as they return, and unwound when
// one of them fails.
#include <algorithm>
#include <memory>
#include <span>
#include <stdexcept>
#include <utility>

#include "kernels/simt/block_scheduler.h"
#include "kernels/simt/emulated_async_copy.h"
#include "kernels/simt/order.h"
#include "kernels/simt/simt.h"

constinit thread_local IndexVariable threadIdx, blockIdx;
constinit thread_local dim3 blockDim, gridDim;

namespace espalier::simt::detail {

constinit thread_local Here here;

namespace {

struct Unwound {};  // thrown through the threads of a block that another thread's error has ended

thread_local std::unique_ptr<BlockScheduler> own_scheduler;
constinit thread_local BlockScheduler* scheduler = nullptr;

}  // namespace

BlockScheduler::BlockScheduler() : fibers_(&BlockScheduler::fiber_body) {
  adopt_thread_stack(thread_stack_);
  forward_ = order_is_forward();
  outside_.fiber = &thread_stack_;
}

BlockScheduler& BlockScheduler::of_this_thread() {
  if (scheduler == nullptr) {
    own_scheduler = std::make_unique<BlockScheduler>();
    scheduler = own_scheduler.get();
  }
  return *scheduler;
}

void BlockScheduler::run(Grid& grid, unsigned worker) {
  grid_ = &grid;
  share_ = worker % grid.shares;
  block_ = chunk_end_ = 0;
  blockDim = grid.launch->block;
  gridDim = grid.launch->grid;
  here.lanes = lanes_.data();
  here.warps = warps_.data();
  here.dynamic_shared = shared_.prepare(grid.kernel, grid.launch->dynamic_shared_bytes);
  here.entry = grid.entry;
  here.closure = grid.closure;
  if (next_block()) {
    beginning_ = &fibers_.take();
    switch_fiber(thread_stack_, &outside_.stack_pointer, *beginning_, &beginning_->stack_pointer);
  }
  here.count = 0;
  if (error_) {
    here.unwinding = false;
    std::rethrow_exception(std::exchange(error_, nullptr));
  }
}

void BlockScheduler::prepare_lanes() {
  const unsigned count = blockDim.x * blockDim.y * blockDim.z;
  std::array<std::uint16_t, kMaxThreads> order;
  order_threads(std::span(order).first(count), block_);
  for (unsigned position = 0; position < count; ++position) {
    Lane& lane = lanes_[position];
    const unsigned thread = order[position];
    lane = Lane{};
    lane.index = {{thread % blockDim.x, thread / blockDim.x % blockDim.y, thread / blockDim.x / blockDim.y}};
    lane.thread = std::uint16_t(thread);
    lane.position = std::uint16_t(position);
    position_of_thread_[thread] = std::uint16_t(position);
  }
  for (unsigned first = 0; first < count; first += kWarpThreads) {
    const unsigned left = count - first;
    warps_[first / kWarpThreads].present = left >= kWarpThreads ? ~0u : (1u << left) - 1;
  }
  prepared_for_ = blockDim;
}

void Grid::share_out(std::size_t workers) {
  shares = unsigned(std::min<std::uint64_t>({workers, kMaxShares, blocks}));
  for (unsigned i = 0; i < shares; ++i) {
    share[i].next.store(blocks * i / shares, std::memory_order_relaxed);
    share[i].end = blocks * (i + 1) / shares;
  }
}

// False when no share has blocks left.
bool BlockScheduler::take_chunk() {
  for (unsigned tried = 0; tried < grid_->shares; ++tried, share_ = (share_ + 1) % grid_->shares) {
    Grid::Share& share = grid_->share[share_];
    if (share.next.load(std::memory_order_relaxed) >= share.end) continue;
    block_ = share.next.fetch_add(grid_->chunk, std::memory_order_relaxed);
    if (block_ >= share.end) continue;
    chunk_end_ = std::min(share.end, block_ + grid_->chunk);
    return true;
  }
  block_ = chunk_end_ = 0;
  return false;
}

// Moves on to the next block of the grid; false when there is none left.
bool BlockScheduler::next_block() {
  if (error_) return false;
  if (block_ == chunk_end_ && !take_chunk()) return false;
  const std::uint64_t turn = block_++, linear = forward_ ? turn : order_block(turn, grid_->blocks);
  if (gridDim.y * gridDim.z == 1) {
    blockIdx = {{unsigned(linear), 0, 0}};
  } else {
    const std::uint64_t row = linear / gridDim.x;
    blockIdx = {{unsigned(linear % gridDim.x), unsigned(row % gridDim.y), unsigned(row / gridDim.y)}};
  }
  const dim3 shape = prepared_for_;
  const bool prepared = shape.x == blockDim.x && shape.y == blockDim.y && shape.z == blockDim.z;
  if (!prepared || (!forward_ && order_differs_by_block())) prepare_lanes();
  here.count = blockDim.x * blockDim.y * blockDim.z;
  here.started = 0;
  here.suspended = false;
  here.barrier = nullptr;
  here.ready = nullptr;
  if (std::exchange(here.copying, false)) forget_copies();
  shared_.begin_block();
  return true;
}

// The root of every fiber: runs whatever launch is on, until that has no work for it.
void BlockScheduler::fiber_body() {
  Fiber& self = *scheduler->beginning_;
  for (;;) {
    try {
      here.entry(here.closure, self);
      continue;
    } catch (const Unwound&) {
    } catch (...) {
      scheduler->fail(std::current_exception());
    }
    if (Lane* next = scheduler->retire(self)) {
      switch_fiber(self, &self.stack_pointer, *next->fiber, &next->stack_pointer);
    }
  }
}

Lane* BlockScheduler::retire(Fiber& self) {
  Lane* next = here.suspended ? after_return() : nullptr;
  if (next == nullptr && !next_block()) next = &outside_;
  if (next == nullptr || next->fiber == nullptr) {
    beginning_ = &self;
    return nullptr;
  }
  fibers_.give(self);
  here.current = next;
  threadIdx = next->index;
  return next;
}

// Bookkeeping starts here, so that blocks in which nobody waits do none.
void BlockScheduler::first_suspension() {
  here.suspended = true;
  const unsigned returned = here.started - 1;  // all before the current one returned without waiting
  live_.assign(returned, here.count);
  live_count_ = here.count - returned;
  in_ring_ = ring_is_open_ = true;
  ring_is_current_ = false;
  head_ = tail_ = nullptr;
  arrived_ = 0;
  votes_ = 0;
  for (unsigned warp = 0; warp * kWarpThreads < here.count; ++warp) warps_[warp].returned = 0;
  for (unsigned position = 0; position < returned; ++position) {
    const Lane& lane = lanes_[position];
    warp_of(lane).returned |= 1u << lane.thread % kWarpThreads;
  }
}

// The current thread has returned: who runs next? Null: the block is done. A thread without a fiber: begin it.
Lane* BlockScheduler::after_return() {
  Lane& lane = *here.current;
  lane.fiber = nullptr;
  warp_of(lane).returned |= 1u << lane.thread % kWarpThreads;
  live_.erase(lane.position);
  if (--live_count_ == 0) return nullptr;
  if (here.unwinding) return &lanes_[live_.first()];
  if (in_ring_) return &after_return_in_ring(lane);
  ring_is_current_ = false;
  ready_.erase(lane.position);
  if (arrived_ == live_count_) {
    release_barrier();
    return head_;
  }
  try {
    return &runnable_after(lane);
  } catch (...) {
    fail(std::current_exception());
    return live_count_ == 0 ? nullptr : &lanes_[live_.first()];
  }
}

// The first error ends the block: threads that wait unwind, others never begin.
void BlockScheduler::fail(std::exception_ptr error) {
  std::string what = "unknown exception";
  try {
    std::rethrow_exception(error);
  } catch (const std::exception& exception) {
    what = exception.what();
  } catch (...) {
  }
  if (!error_) {
    error_ = std::make_exception_ptr(LaunchError(describe(*grid_->launch) + ": block " + text(blockIdx) + ", thread " +
                                                 text(here.current->index) + ": " + what));
  }
  for (unsigned i = 0; i < grid_->shares; ++i) grid_->share[i].next = grid_->share[i].end;
  here.barrier = nullptr;
  if (!here.suspended) return;
  here.unwinding = true;
  for (unsigned position = 0; position < here.count; ++position) {
    if (position >= here.started) live_.erase(position);
    lanes_[position].astray = false;
  }
  here.started = here.count;
  live_count_ = live_.size();
  for (Warp& warp : warps_) {
    for (WarpGroup& group : warp.groups) group.arrived = 0;
  }
}

void unwind() { throw Unwound(); }
Lane* retire(Fiber& self) { return scheduler->retire(self); }
Lane& arrive_slowly(std::source_location site) { return scheduler->arrive_slowly(site); }
Lane* join_first(unsigned mask, std::source_location site) { return scheduler->join_first(mask, site); }
Lane& give_way(Lane& lane) { return scheduler->give_way(lane); }
void release(unsigned mask) { scheduler->release(mask); }

int vote_at_barrier(int predicate, std::source_location site) {
  Lane& lane = *here.current;
  hand_over(lane, scheduler->vote(predicate, site));
  return scheduler->verdict();
}

}  // namespace espalier::simt::detail
