// How a thread block runs on one OS thread. A fiber runs the block's threads one after another; a thread that never
// waits costs no switch. One that waits keeps its fiber, and the next thread in order continues on another.
// While all threads only ever wait at the same barriers they form a ring: each hands over to the next, and when the
// ring comes round, all have arrived - nothing is counted, and a barrier costs little more than the switch.
// Zen 5, ns a thread: barrier 1.5 (64 threads), 2.0 (256), 2.5 (1,024); counted arrivals took 7 to 16. First wait and
// return of a thread 16. A kernel that never waits 1.2, its call included.
#pragma once
#include <bit>
#include <cstddef>
#include <cstdint>
#include <source_location>

#include "kernels/simt/emulated_types.h"
#include "kernels/simt/fiber.h"

namespace espalier::simt::detail {

constexpr unsigned kMaxThreads = 1024, kWarpThreads = 32;

struct Warp;
class PositionSet;

// One thread of the running block. `position` is its place in the order of execution, `thread` its linear index.
struct alignas(64) Lane {
  IndexVariable index;
  Lane* next = nullptr;           // in the ring
  void* stack_pointer = nullptr;  // while it waits
  Fiber* fiber = nullptr;         // once it has waited, or been begun by one that waits
  std::uint16_t thread = 0, position = 0;
  bool astray = false;        // waits at a barrier other than that of the others
  std::source_location site;  // of that barrier
};
static_assert(sizeof(Lane) == 64, "a lane is one cache line");

// Runs kernel threads on fiber `self`, block after block, as long as it is that launch's turn.
using Entry = void (*)(const void* closure, Fiber& self);

// What inlined code touches of the running block, together in one thread-local.
struct Here {
  unsigned started = 0, count = 0;  // threads begun, threads of the block; 0 between launches
  bool suspended = false;           // some thread of this block has waited
  bool unwinding = false;           // an error ends the block: whoever resumes throws
  bool copying = false;             // some thread has started asynchronous copies
  const void* barrier = nullptr;    // where the ring waits; null while there is no ring
  PositionSet* ready = nullptr;     // who can run; null while there is a ring
  Lane* current = nullptr;
  Lane* lanes = nullptr;  // in order of execution
  Warp* warps = nullptr;
  void* dynamic_shared = nullptr;
  Entry entry = nullptr;  // of the running launch
  const void* closure = nullptr;
};
extern constinit thread_local Here here;

[[noreturn]] void unwind();
Lane& arrive_slowly(std::source_location site);                 // returns the lane to hand over to
int vote_at_barrier(int predicate, std::source_location site);  // how many threads said yes

// std::source_location is one pointer to constant data; equal pointers are the same place in the source.
inline const void* place(const std::source_location& site) {
  static_assert(sizeof(site) == sizeof(void*));
  return std::bit_cast<const void*>(site);
}

// `from`, which runs, gives way to `to`, which waits or has not begun; `to` may be `from`.
inline void hand_over(Lane& from, Lane& to) {
  here.current = &to;
  threadIdx = to.index;
  switch_fiber(*from.fiber, &from.stack_pointer, *to.fiber, &to.stack_pointer);
  if (here.unwinding) [[unlikely]]
    unwind();
}

inline void arrive_at_barrier(std::source_location site) {
  Lane& lane = *here.current;
  hand_over(lane, place(site) == here.barrier ? *lane.next : arrive_slowly(site));
}

Lane* retire(Fiber& self);  // the current thread has returned; null: begin another one, else switch to that lane

// The loop of every Entry: `kernel()` runs one thread.
template <class Kernel>
inline void run_lanes(Entry entry, const void* closure, Fiber& self, Kernel kernel) {
  for (;;) {
    unsigned position = here.started;  // in a register: through memory it would cost 5 cycles a thread
    do {
      Lane& lane = here.lanes[position];
      here.started = ++position;
      here.current = &lane;
      threadIdx = lane.index;
      kernel();
    } while (!here.suspended && position < here.count);
    Lane* next = retire(self);
    if (next == nullptr) continue;
    switch_fiber(self, &self.stack_pointer, *next->fiber, &next->stack_pointer);
    if (here.entry != entry || here.closure != closure) return;  // taken from the pool by another launch
  }
}

}  // namespace espalier::simt::detail
