// Meetings of warp lanes.
#include "kernels/simt/warp.h"

#include <bit>
#include <stdexcept>

#include "kernels/simt/block_scheduler.h"
#include "kernels/simt/order.h"

namespace espalier::simt::detail {

Lane* BlockScheduler::join(unsigned mask, std::source_location site) {
  if (!here.suspended) first_suspension();
  if (in_ring_) leave_ring();
  Lane& lane = *here.current;
  Warp& warp = warp_of(lane);
  const unsigned bit = 1u << lane.thread % kWarpThreads;
  if ((mask & bit) == 0 || (mask & warp.returned) != 0) check_meeting(warp, bit, mask, site);
  const unsigned members = mask & warp.present;  // a full mask may name lanes that an odd block does not have
  WarpGroup& group = warp.groups[std::countr_zero(members)];
  join_group(group, bit, members, site);
  if (group.arrived == members) return nullptr;
  lane.mask = members;
  return &wait_elsewhere(lane, Wait::warp, site);
}

void BlockScheduler::check_meeting(const Warp& warp, unsigned bit, unsigned mask, std::source_location site) const {
  const std::string where = "warp collective at " + text(site) + ", mask " + hex(mask) + ": ";
  if ((mask & bit) == 0) {
    throw std::runtime_error(where + "lane " + std::to_string(std::countr_zero(bit)) +
                             " calls it but is not in the mask");
  }
  throw std::runtime_error(where + "lanes " + hex(mask & warp.returned) +
                           " of the mask have already returned from the kernel");
}

void BlockScheduler::join_group(WarpGroup& group, unsigned bit, unsigned mask, std::source_location site) {
  if (group.arrived == 0) {
    group.mask = mask;
    group.site = site;
  } else if (group.mask != mask || !same_place(group.site, site)) {
    throw std::runtime_error("warp collective at " + text(site) + ", mask " + hex(mask) + ": lanes " +
                             hex(group.arrived) + " of it wait in another one, at " + text(group.site) + ", mask " +
                             hex(group.mask));
  }
  group.arrived |= bit;
}

void BlockScheduler::release(unsigned mask) {
  const Lane& lane = *here.current;
  mask &= warp_of(lane).present;
  warp_of(lane).groups[std::countr_zero(mask)].arrived = 0;
  const unsigned first = lane.thread / kWarpThreads * kWarpThreads;
  if (order_is_forward()) return ready_.insert_run(first, mask);
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
