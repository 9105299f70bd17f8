// How a thread block runs on one OS thread. Every thread of the block runs on a fiber; a fiber runs threads one after
// another, so a thread that never waits costs no switch, and the others get a fiber each at their first barrier.
// A thread that waits hands over to the next one in order; when nobody can run, the block has diverged.
#pragma once
#include <cstddef>
#include <cstdint>
#include <exception>
#include <source_location>

#include "kernels/simt/emulated_types.h"
#include "kernels/simt/fiber.h"

namespace espalier::simt {
struct Launch;
}

namespace espalier::simt::detail {

constexpr unsigned kMaxThreads = 1024, kWarpThreads = 32;
constexpr std::size_t kMaxSharedBytes = 227 * 1024;

enum class Wait : std::uint8_t { none, block_barrier, warp };

// One thread of the running block. `position` is its place in the order of execution, `thread` its linear threadIdx.
struct Lane {
  uint3 index;
  unsigned thread = 0, position = 0;
  Fiber* fiber = nullptr;
  std::source_location site;  // of the barrier or collective it waits at
  unsigned mask = 0;          // of that collective
  Wait wait = Wait::none;
  bool finished = false;
};

// Threads of a warp that meet in one collective; disjoint masks may meet independently.
struct WarpGroup {
  unsigned mask = 0, arrived = 0;
};
struct Warp {
  WarpGroup groups[kWarpThreads];  // by lowest lane of the mask
  void* payload[kWarpThreads];
  unsigned live = 0;
};

// What inlined code touches of the running block, kept together in one thread-local.
struct Here {
  unsigned started = 0, count = 0;  // threads begun, threads of the block
  bool suspended = false;           // some thread of this block has waited
  Lane* lanes = nullptr;            // in order of execution
  Lane* current = nullptr;
  void* dynamic_shared = nullptr;
};
extern constinit thread_local Here here;

// Runs kernel threads until none is left to begin.
using Entry = void (*)(const void* closure);

bool finish_lane();  // the current thread returned; true: begin the next one on this fiber
void arrive_at_barrier(std::source_location site);
int vote_at_barrier(int predicate, int combine, std::source_location site);    // combine: 0 count, 1 and, 2 or
bool arrive_in_warp(unsigned mask, void* payload, std::source_location site);  // true: last, must call release_warp()
void** warp_payloads();                                                        // of the current thread's warp
unsigned live_lanes();  // lanes of the current thread's warp that exist and have not returned
void release_warp(unsigned mask);

inline void begin_lane() {
  Lane& lane = here.lanes[here.started++];
  here.current = &lane;
  threadIdx = lane.index;
}

// Runs blocks [begin, end) of a launch, in execution order, on the calling OS thread.
void run_blocks(const Launch& launch, Entry entry, const void* closure, std::uint64_t begin, std::uint64_t end);

}  // namespace espalier::simt::detail
