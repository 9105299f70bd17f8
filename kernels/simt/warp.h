// A warp of the running block and how its lanes meet.
#pragma once
#include <cstdint>
#include <source_location>

#include "kernels/simt/block.h"

namespace espalier::simt::detail {

// Lanes that meet in one collective; disjoint masks meet independently.
struct WarpGroup {
  unsigned mask = 0, arrived = 0;
  std::source_location site;
};

struct Warp {
  unsigned present = 0, returned = 0;  // lanes the block has; lanes that have left the kernel
  unsigned turn = 0;                   // which of the two rows of `values` the next whole-warp exchange writes
  std::uint64_t values[2][kWarpThreads] = {};
  void* payload[kWarpThreads] = {};
  WarpGroup groups[kWarpThreads];  // by the lowest lane of the mask
};

inline Warp& warp_of(const Lane& lane) { return here.warps[lane.thread / kWarpThreads]; }
inline unsigned lane_id() { return here.current->thread % kWarpThreads; }

// The current lane joins the lanes of `mask`. True for the last to come, which must then release() them; the others
// return false after that.
Lane* join(unsigned mask, std::source_location site);  // null for the last, else the lane to hand over to
Lane* join_first(unsigned mask, std::source_location site);
Lane& give_way(Lane& lane);
void release(unsigned mask);

inline bool meet(unsigned mask, std::source_location site) {
  Lane& lane = *here.current;
  Lane* next = join(mask, site);
  if (next == nullptr) return true;
  hand_over(lane, *next);
  return false;
}

}  // namespace espalier::simt::detail
