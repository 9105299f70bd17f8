// Barriers: the ring that threads form at their first barrier, the free state that warp collectives ask for, and the
// report of a block in which nobody can run.
#include <algorithm>
#include <stdexcept>
#include <utility>
#include <vector>

#include "kernels/simt/block_scheduler.h"

namespace espalier::simt::detail {

Lane& BlockScheduler::arrive_slowly(std::source_location site) {
  if (!here.suspended) first_suspension();
  Lane& lane = *here.current;
  if (in_ring_ && ring_is_open_) {
    if (head_ == nullptr || same_place(site, barrier_site_)) return join_ring(lane, site);
  } else if (in_ring_) {
    if (&lane == head_) barrier_site_ = site;  // the first of a round says where the others must come
    if (same_place(site, barrier_site_)) {
      here.barrier = place(site);
      return *lane.next;
    }
  }
  if (in_ring_) leave_ring();
  return arrive_free(lane, site);
}

// The first barrier: threads come here in order, the next one has not begun.
Lane& BlockScheduler::join_ring(Lane& lane, std::source_location site) {
  barrier_site_ = site;
  if (lane.fiber == nullptr) lane.fiber = beginning_;
  (head_ == nullptr ? head_ : tail_->next) = &lane;
  tail_ = &lane;
  if (here.started < here.count) return ready_to_begin(lanes_[here.started]);
  close_ring();
  return *head_;
}

// A lane that has not begun needs a fiber of its own when a waiting one hands over to it.
Lane& BlockScheduler::ready_to_begin(Lane& lane) {
  beginning_ = &fibers_.take();
  lane.fiber = beginning_;
  lane.stack_pointer = beginning_->stack_pointer;
  return lane;
}

void BlockScheduler::close_ring() {
  ring_is_open_ = false;
  ring_is_current_ = true;
  tail_->next = head_;
  here.barrier = place(barrier_site_);
}

// Those before the current thread have arrived in this round, those after it can run.
void BlockScheduler::leave_ring() {
  in_ring_ = false;
  here.barrier = nullptr;
  here.ready = &ready_;
  ready_ = live_;
  ready_.erase_below(here.current->position);
  arrived_ = live_count_ - ready_.size();
}

// Everybody has arrived: back to the ring, from its head.
void BlockScheduler::release_barrier() {
  arrived_ = 0;
  verdict_ = std::exchange(votes_, 0);
  in_ring_ = true;
  here.ready = nullptr;
  ring_is_open_ = false;
  if (!ring_is_current_) {
    head_ = tail_ = &lanes_[live_.first()];
    for (unsigned count = 1; count < live_count_; ++count) {
      Lane& next = lanes_[live_.after(tail_->position)];
      tail_->next = &next;
      tail_ = &next;
    }
  }
  close_ring();
}

Lane& BlockScheduler::arrive_free(Lane& lane, std::source_location site) {
  if (arrived_ == 0) barrier_site_ = site;
  ready_.erase(lane.position);
  if (!same_place(site, barrier_site_)) {
    lane.astray = true;
    lane.site = site;
    return give_way(lane);
  }
  if (++arrived_ < live_count_) return give_way(lane);
  if (lane.fiber == nullptr) lane.fiber = beginning_;
  release_barrier();
  return *head_;
}

Lane& BlockScheduler::vote(int predicate, std::source_location site) {
  if (!here.suspended) first_suspension();
  if (in_ring_) leave_ring();
  votes_ += predicate != 0;
  return arrive_free(*here.current, site);
}

Lane& BlockScheduler::runnable_after(const Lane& lane) {
  const unsigned position = ready_.after(lane.position);
  if (position == PositionSet::kNone) throw std::runtime_error(divergence());
  return lanes_[position];
}

Lane& BlockScheduler::give_way(Lane& lane) {
  if (lane.fiber == nullptr) lane.fiber = beginning_;
  Lane& next = runnable_after(lane);
  return next.fiber != nullptr ? next : ready_to_begin(next);
}

Lane& BlockScheduler::after_return_in_ring(Lane& lane) {
  if (ring_is_open_) {
    if (here.started < here.count) return lanes_[here.started];
    close_ring();
    return *head_;
  }
  Lane* next = lane.next;
  if (&lane == head_) {
    head_ = next;
    tail_->next = next;
  } else {
    Lane& before = lanes_[live_.before(lane.position)];
    before.next = next;
    if (&lane == tail_) tail_ = &before;
  }
  return *next;
}

// "5 of 32 live threads arrived at __syncthreads at softmax.cu:40 (first: thread (0, 0, 0)); 27 ..."
std::string BlockScheduler::divergence() const {
  struct Waiting {
    const Lane* first;
    const WarpGroup* group;
    std::source_location site;
    unsigned count;
  };
  std::vector<Waiting> places;
  for (unsigned position = 0; position < here.count; ++position) {
    const Lane& lane = lanes_[position];
    if (!live_.contains(position)) continue;
    const WarpGroup* group = group_of(lane);
    const std::source_location site = group != nullptr ? group->site : lane.astray ? lane.site : barrier_site_;
    const auto alike = [&](const Waiting& place) { return place.group == group && same_place(place.site, site); };
    const auto known = std::find_if(places.begin(), places.end(), alike);
    if (known == places.end())
      places.push_back({&lane, group, site, 1});
    else
      ++known->count;
  }
  std::string report = "threads diverged: ";
  for (const Waiting& place : places) {
    report += std::to_string(place.count) + " of " + std::to_string(live_count_) + " live threads ";
    report += place.group == nullptr ? std::string("arrived at __syncthreads")
                                     : "wait in a warp collective, mask " + hex(place.group->mask) + ",";
    report += " at " + text(place.site) + " (first: thread " + text(place.first->index) + "); ";
  }
  return report + std::to_string(here.count - live_count_) + " have returned";
}

bool same_line(const std::source_location& a, const std::source_location& b) {
  return a.line() == b.line() && a.column() == b.column() && std::string_view(a.file_name()) == b.file_name();
}

std::string text(const uint3& index) {
  return "(" + std::to_string(index.x) + ", " + std::to_string(index.y) + ", " + std::to_string(index.z) + ")";
}

std::string text(const std::source_location& site) {
  return std::string(site.file_name()) + ":" + std::to_string(site.line());
}

std::string hex(unsigned mask) {
  std::string digits = "0x";
  for (int shift = 28; shift >= 0; shift -= 4) digits += "0123456789abcdef"[mask >> shift & 15u];
  return digits;
}

}  // namespace espalier::simt::detail
