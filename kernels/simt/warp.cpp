// Meetings of warp lanes.
#include "kernels/simt/warp.h"

#include <bit>
#include <stdexcept>

#include "kernels/simt/block_scheduler.h"
#include "kernels/simt/order.h"

namespace espalier::simt::detail {

// The common case, a lane that is neither the first nor the last to come and whose successor can run, takes 40
// instructions: a shuffle costs 5 ns a lane, where keeping all books cost 10.
Lane* join(unsigned mask, std::source_location site) {
  Lane& lane = *here.current;
  Warp& warp = warp_of(lane);
  const unsigned bit = 1u << lane.thread % kWarpThreads, members = mask & warp.present;
  if (here.ready == nullptr || (mask & bit) == 0 || (mask & warp.returned) != 0) return join_first(mask, site);
  WarpGroup& group = warp.groups[std::countr_zero(members)];
  if (group.arrived == 0 || group.mask != members || place(group.site) != place(site)) return join_first(mask, site);
  group.arrived |= bit;
  if (group.arrived == members) return nullptr;
  here.ready->erase(lane.position);
  const unsigned next = lane.position + 1u;
  const bool successor = next < here.started && here.ready->contains(next) && lane.fiber != nullptr;
  return successor ? &lane + 1 : &give_way(lane);
}

Lane* BlockScheduler::join_first(unsigned mask, std::source_location site) {
  if (!here.suspended) first_suspension();
  if (in_ring_) leave_ring();
  Lane& lane = *here.current;
  Warp& warp = warp_of(lane);
  const unsigned bit = 1u << lane.thread % kWarpThreads;
  const unsigned members = mask & warp.present;  // a full mask may name lanes that an odd block does not have
  const auto refuse = [&](const std::string& why) {
    throw std::runtime_error("warp collective at " + text(site) + ", mask " + hex(mask) + ": " + why);
  };
  if ((mask & bit) == 0) {
    refuse("lane " + std::to_string(lane.thread % kWarpThreads) + " calls it but is not in the mask");
  }
  if ((mask & warp.returned) != 0) {
    refuse("lanes " + hex(mask & warp.returned) + " of the mask have already returned from the kernel");
  }
  WarpGroup& group = warp.groups[std::countr_zero(members)];
  if (group.arrived == 0) {
    group.mask = members;
    group.site = site;
  } else if (group.mask != members || !same_place(group.site, site)) {
    refuse("lanes " + hex(group.arrived) + " of it wait in another one, at " + text(group.site) + ", mask " +
           hex(group.mask));
  }
  group.arrived |= bit;
  if (group.arrived == members) return nullptr;
  ready_.erase(lane.position);
  return &give_way(lane);
}

const WarpGroup* BlockScheduler::group_of(const Lane& lane) {
  for (const WarpGroup& group : warp_of(lane).groups) {
    if ((group.arrived >> lane.thread % kWarpThreads & 1u) != 0) return &group;
  }
  return nullptr;
}

void BlockScheduler::release(unsigned mask) {
  const Lane& lane = *here.current;
  mask &= warp_of(lane).present;
  warp_of(lane).groups[std::countr_zero(mask)].arrived = 0;
  const unsigned first = lane.thread / kWarpThreads * kWarpThreads;
  if (forward_) return ready_.insert_run(first, mask);
  for (unsigned lanes = mask; lanes != 0; lanes &= lanes - 1) {
    ready_.insert(position_of_thread_[first + unsigned(std::countr_zero(lanes))]);
  }
}

}  // namespace espalier::simt::detail

unsigned __activemask() {
  using namespace espalier::simt::detail;
  const Warp& warp = warp_of(*here.current);
  return here.suspended ? warp.present & ~warp.returned : warp.present;
}
