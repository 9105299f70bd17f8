// The scheduler of one block. Exactly one thread of the block runs at a time; it gives way only where it must wait, and
// then to the next thread in order that can run. When none can, no thread ever will: the wait is reported, not hung.
#include "kernels/simt/block.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstdlib>
#include <memory>
#include <numeric>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "kernels/simt/order.h"
#include "kernels/simt/simt.h"

constinit thread_local uint3 threadIdx, blockIdx;
constinit thread_local dim3 blockDim, gridDim;

namespace espalier::simt::detail {

constinit thread_local Here here;

namespace {

struct Abandoned {};  // unwinds the fibers of a block that another thread's error has ended

std::string text(const uint3& v) {
  return "(" + std::to_string(v.x) + ", " + std::to_string(v.y) + ", " + std::to_string(v.z) + ")";
}

std::string text(const std::source_location& site) {
  return std::string(site.file_name()) + ":" + std::to_string(site.line());
}

std::string hex(unsigned value) {
  char digits[11] = "0x";
  for (int i = 0; i < 8; ++i) digits[2 + i] = "0123456789abcdef"[value >> (28 - 4 * i) & 15u];
  return digits;
}

bool same(const std::source_location& a, const std::source_location& b) {
  return a.line() == b.line() && a.column() == b.column() && a.file_name() == b.file_name();
}

class Block {
 public:
  Block();

  void run(const Launch& launch, Entry entry, const void* closure, std::uint64_t begin, std::uint64_t end);
  bool finish_lane();
  void arrive_at_barrier(std::source_location site);
  int vote(int predicate, int combine, std::source_location site);
  bool arrive_in_warp(unsigned mask, void* payload, std::source_location site);
  void release_warp(unsigned mask);
  void** payloads() { return warp_of(*here.current).payload; }
  unsigned live_lanes() { return here.suspended ? warp_of(*here.current).live : present_lanes(*here.current); }

 private:
  static void fiber_body();
  void begin(std::uint64_t linear);
  void suspend(Wait wait, std::source_location site);
  void yield(Lane& lane);
  Lane* next_runnable();
  void switch_to(Lane* next, Fiber& from);
  void leave(Fiber& fiber);
  unsigned present_lanes(const Lane& lane) const;
  void first_suspension();
  void count_out(Lane& lane);
  void release_barrier();
  void fail(std::exception_ptr error);
  [[noreturn]] void report_divergence();
  Warp& warp_of(const Lane& lane) { return warps_[lane.thread / kWarpThreads]; }
  bool is_ready(unsigned position) const { return ready_[position / 64] >> (position % 64) & 1u; }
  void set_ready(unsigned position) { ready_[position / 64] |= std::uint64_t{1} << (position % 64); }
  void clear_ready(unsigned position) { ready_[position / 64] &= ~(std::uint64_t{1} << (position % 64)); }

  FiberPool fibers_;
  Fiber outside_;  // the OS thread's own stack
  Fiber* running_ = nullptr;
  const Launch* launch_ = nullptr;
  Entry entry_ = nullptr;
  const void* closure_ = nullptr;
  std::array<Lane, kMaxThreads> lanes_;
  std::array<std::uint16_t, kMaxThreads> position_of_thread_;
  std::array<Warp, kMaxThreads / kWarpThreads> warps_;
  std::array<std::uint64_t, kMaxThreads / 64> ready_;  // by position; not yet begun counts as ready
  unsigned live_ = 0, arrived_ = 0;
  std::source_location barrier_;  // where the threads that have arrived wait
  int votes_ = 0, verdict_ = 0;
  std::exception_ptr error_;
  std::unique_ptr<char[], void (*)(char*)> shared_;
};

thread_local std::unique_ptr<Block> own_block;
constinit thread_local Block* block = nullptr;

Block::Block()
    : fibers_(&Block::fiber_body),
      shared_(static_cast<char*>(std::aligned_alloc(256, kMaxSharedBytes)), [](char* p) { std::free(p); }) {
  adopt_thread_stack(outside_);
}

void Block::fiber_body() {
  for (;;) {
    Fiber& fiber = *block->running_;
    try {
      block->entry_(block->closure_);
    } catch (const Abandoned&) {
      block->count_out(*here.current);
    } catch (...) {
      block->fail(std::current_exception());
    }
    block->leave(fiber);
  }
}

void Block::begin(std::uint64_t linear) {
  blockIdx = {unsigned(linear % gridDim.x), unsigned(linear / gridDim.x % gridDim.y),
              unsigned(linear / gridDim.x / gridDim.y)};
  here.count = blockDim.x * blockDim.y * blockDim.z;
  here.started = 0;
  here.suspended = false;
  here.lanes = lanes_.data();
  here.dynamic_shared = shared_.get();
  std::array<std::uint16_t, kMaxThreads> order;
  order_threads(std::span(order).first(here.count), linear);
  for (unsigned position = 0; position < here.count; ++position) {
    Lane& lane = lanes_[position];
    const unsigned thread = order[position];
    lane.index = {thread % blockDim.x, thread / blockDim.x % blockDim.y, thread / blockDim.x / blockDim.y};
    lane.thread = thread;
    lane.position = position;
    lane.wait = Wait::none;
    lane.finished = false;
    position_of_thread_[thread] = std::uint16_t(position);
  }
}

void Block::run(const Launch& launch, Entry entry, const void* closure, std::uint64_t begin_block,
                std::uint64_t end_block) {
  launch_ = &launch;
  entry_ = entry;
  closure_ = closure;
  blockDim = launch.block;
  gridDim = launch.grid;
  const std::uint64_t count = std::uint64_t{gridDim.x} * gridDim.y * gridDim.z;
  for (std::uint64_t i = begin_block; i < end_block && !error_; ++i) {
    begin(order_block(i, count));
    Fiber& fiber = fibers_.take();
    running_ = &fiber;
    switch_fiber(outside_, fiber);
  }
  here.count = 0;
  if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
}

// The books are kept only for blocks in which somebody waits.
void Block::first_suspension() {
  here.suspended = true;
  const unsigned finished = here.started - 1;  // all before the current one returned without waiting
  live_ = here.count - finished;
  arrived_ = 0;
  votes_ = 0;
  ready_.fill(0);
  for (Warp& warp : warps_) warp = {};
  for (unsigned position = 0; position < finished; ++position) lanes_[position].finished = true;
  for (unsigned position = finished; position < here.count; ++position) {
    set_ready(position);
    warp_of(lanes_[position]).live |= 1u << lanes_[position].thread % kWarpThreads;
  }
}

Lane* Block::next_runnable() {
  const unsigned words = (here.count + 63) / 64, from = here.current->position + 1;
  for (unsigned step = 0; step <= words; ++step) {
    const unsigned word = (from / 64 + step) % words;
    std::uint64_t bits = ready_[word];
    if (step == 0) bits &= from / 64 < words ? ~std::uint64_t{0} << (from % 64) : ~std::uint64_t{0};
    if (bits != 0) return &lanes_[word * 64 + unsigned(std::countr_zero(bits))];
  }
  return nullptr;
}

void Block::switch_to(Lane* next, Fiber& from) {
  if (next->position >= here.started) {
    running_ = &fibers_.take();  // begins that thread
  } else {
    running_ = next->fiber;
    here.current = next;
    threadIdx = next->index;
  }
  switch_fiber(from, *running_);
}

void Block::suspend(Wait wait, std::source_location site) {
  Lane& lane = *here.current;
  lane.wait = wait;
  lane.site = site;
  clear_ready(lane.position);
  yield(lane);
}

// Runs others until the lane is ready again and its turn has come.
void Block::yield(Lane& lane) {
  lane.fiber = running_;
  Lane* next = next_runnable();
  if (next == nullptr) report_divergence();
  if (next != &lane) switch_to(next, *lane.fiber);
  if (error_) throw Abandoned();
  lane.wait = Wait::none;
}

void Block::release_barrier() {
  arrived_ = 0;
  verdict_ = std::exchange(votes_, 0);
  for (unsigned position = 0; position < here.count; ++position) {
    if (!lanes_[position].finished) set_ready(position);
  }
}

void Block::arrive_at_barrier(std::source_location site) {
  if (!here.suspended) first_suspension();
  Lane& lane = *here.current;
  if (arrived_ == 0) barrier_ = site;
  if (!same(site, barrier_)) {
    lane.wait = Wait::block_barrier;
    lane.site = site;
    report_divergence();
  }
  clear_ready(lane.position);
  lane.wait = Wait::block_barrier;
  lane.site = site;
  if (++arrived_ == live_) release_barrier();
  yield(lane);
}

int Block::vote(int predicate, int combine, std::source_location site) {
  if (!here.suspended) first_suspension();
  votes_ += combine == 1 ? predicate == 0 : predicate != 0;
  arrive_at_barrier(site);
  return combine == 0 ? verdict_ : combine == 1 ? verdict_ == 0 : verdict_ != 0;
}

unsigned Block::present_lanes(const Lane& lane) const {
  const unsigned left = here.count - lane.thread / kWarpThreads * kWarpThreads;
  return left >= kWarpThreads ? 0xFFFFFFFFu : (1u << left) - 1;
}

bool Block::arrive_in_warp(unsigned mask, void* payload, std::source_location site) {
  if (!here.suspended) first_suspension();
  Lane& lane = *here.current;
  Warp& warp = warp_of(lane);
  const unsigned bit = 1u << lane.thread % kWarpThreads;
  mask &= present_lanes(lane);  // in the last warp of an odd block a full mask names lanes that never were
  const auto where = [&] { return " at " + text(site) + ", mask " + hex(mask) + ": "; };
  if ((mask & bit) == 0) {
    throw std::runtime_error("warp collective" + where() + "lane " + std::to_string(lane.thread % kWarpThreads) +
                             " calls it but is not in its mask");
  }
  if ((mask & ~warp.live) != 0) {
    throw std::runtime_error("warp collective" + where() + "lanes " + hex(mask & ~warp.live) +
                             " of the mask have already returned from the kernel");
  }
  warp.payload[lane.thread % kWarpThreads] = payload;
  WarpGroup& group = warp.groups[std::countr_zero(mask)];
  if (group.arrived == 0) group.mask = mask;
  if (group.mask != mask) {
    throw std::runtime_error("warp collective" + where() + "lanes " + hex(group.arrived) + " wait with another mask, " +
                             hex(group.mask));
  }
  group.arrived |= bit;
  if (group.arrived == mask) return true;
  lane.mask = mask;
  suspend(Wait::warp, site);
  return false;
}

void Block::release_warp(unsigned mask) {
  const unsigned first = here.current->thread / kWarpThreads * kWarpThreads;
  mask &= present_lanes(*here.current);
  warp_of(*here.current).groups[std::countr_zero(mask)].arrived = 0;
  for (unsigned lanes = mask; lanes != 0; lanes &= lanes - 1) {
    set_ready(position_of_thread_[first + unsigned(std::countr_zero(lanes))]);
  }
}

void Block::count_out(Lane& lane) {
  lane.finished = true;
  if (!here.suspended) return;
  clear_ready(lane.position);
  warp_of(lane).live &= ~(1u << lane.thread % kWarpThreads);
  --live_;
}

bool Block::finish_lane() {
  count_out(*here.current);
  if (live_ > 0 && arrived_ == live_) release_barrier();  // a thread that returned counts for no barrier
  if (live_ == 0) return false;
  Lane* next = next_runnable();
  if (next == nullptr) report_divergence();
  return next->position >= here.started;
}

void Block::fail(std::exception_ptr error) {
  std::string what = "unknown exception";
  try {
    std::rethrow_exception(error);
  } catch (const std::exception& e) {
    what = e.what();
  } catch (...) {
  }
  const Lane& lane = *here.current;
  error_ = std::make_exception_ptr(
      LaunchError(describe(*launch_) + ": block " + text(blockIdx) + ", thread " + text(lane.index) + ": " + what));
  if (!lane.finished) count_out(*here.current);
  here.started = here.count;
  if (!here.suspended) return;
  ready_.fill(0);
  for (unsigned position = 0; position < here.count; ++position) {  // the waiting ones unwind, the others never begin
    Lane& other = lanes_[position];
    if (!other.finished && other.wait != Wait::none) set_ready(position);
  }
}

void Block::leave(Fiber& fiber) {
  fibers_.give(fiber);
  Lane* next = here.suspended ? next_runnable() : nullptr;
  if (next != nullptr) {
    switch_to(next, fiber);
  } else {
    switch_fiber(fiber, outside_);
  }
}

void Block::report_divergence() {
  struct Group {
    const Lane* first;
    unsigned count;
  };
  std::vector<Group> groups;
  unsigned finished = 0, begun = 0;
  for (unsigned position = 0; position < here.count; ++position) {
    const Lane& lane = lanes_[position];
    if (lane.finished) {
      ++finished;
    } else if (lane.wait != Wait::none) {
      const auto alike = [&](const Group& g) { return g.first->wait == lane.wait && same(g.first->site, lane.site); };
      const auto group = std::find_if(groups.begin(), groups.end(), alike);
      if (group == groups.end())
        groups.push_back({&lane, 1});
      else
        ++group->count;
    } else {
      ++begun;
    }
  }
  std::string report = "threads diverged: ";
  const unsigned live = here.count - finished;
  for (const Group& group : groups) {
    const bool barrier = group.first->wait == Wait::block_barrier;
    report +=
        std::to_string(group.count) + " of " + std::to_string(live) + " live threads " +
        (barrier ? "arrived at __syncthreads" : "wait in a warp collective, mask " + hex(group.first->mask) + ",") +
        " at " + text(group.first->site) + " (first: thread " + text(group.first->index) + "); ";
  }
  if (begun > 0) report += std::to_string(begun) + " have not come yet; ";
  report += std::to_string(finished) + " finished";
  throw std::runtime_error(report);
}

}  // namespace

bool finish_lane() { return block->finish_lane(); }
void arrive_at_barrier(std::source_location site) { block->arrive_at_barrier(site); }
int vote_at_barrier(int predicate, int combine, std::source_location site) {
  return block->vote(predicate, combine, site);
}
bool arrive_in_warp(unsigned mask, void* payload, std::source_location site) {
  return block->arrive_in_warp(mask, payload, site);
}
void** warp_payloads() { return block->payloads(); }
unsigned live_lanes() { return block->live_lanes(); }
void release_warp(unsigned mask) { block->release_warp(mask); }

void run_blocks(const Launch& launch, Entry entry, const void* closure, std::uint64_t begin, std::uint64_t end) {
  if (block == nullptr) {
    own_block = std::make_unique<Block>();
    block = own_block.get();
  }
  block->run(launch, entry, closure, begin, end);
}

}  // namespace espalier::simt::detail

unsigned __activemask() { return espalier::simt::detail::live_lanes(); }
