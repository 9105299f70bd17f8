// Warp collectives for g++: lanes meet, the last arrival computes every lane's result. One meeting per collective,
// whatever it computes, so a collective with a larger payload (a matrix product, a whole reduction) costs no more.
#pragma once
#include <cstring>
#include <source_location>
#include <type_traits>

#include "kernels/simt/warp.h"

namespace espalier::simt {

// Every lane of `mask` calls this with its payload; compute(Payload* lanes[32]) runs once, with null for lanes outside
// the mask, and may read and write them all. Payloads live on the callers' stacks.
template <class Payload, class Compute>
void warp_collective(unsigned mask, Payload& payload, Compute compute,
                     std::source_location site = std::source_location::current()) {
  detail::Warp& warp = detail::warp_of(*detail::here.current);
  warp.payload[detail::lane_id()] = &payload;
  if (!detail::meet(mask, site)) return;
  Payload* lanes[detail::kWarpThreads];
  for (unsigned lane = 0; lane < detail::kWarpThreads; ++lane) {
    const bool member = (mask & warp.present) >> lane & 1u;
    lanes[lane] = member ? static_cast<Payload*>(warp.payload[lane]) : nullptr;
  }
  compute(lanes);
  detail::release(mask);
}

namespace detail {

// A whole warp exchanges values through two rows in turn: a lane can write a row again only after everybody has met at
// the next exchange, and so has read it.
template <class T>
T exchange_in_warp(Warp& warp, unsigned mask, T value, unsigned source, std::source_location site) {
  const unsigned turn = warp.turn;
  std::memcpy(&warp.values[turn][lane_id()], &value, sizeof(T));
  if (meet(mask, site)) {
    warp.turn = turn ^ 1u;
    release(mask);
  }
  std::memcpy(&value, &warp.values[turn][source], sizeof(T));
  return value;
}

// The value that lane `source` gave. A lane outside the mask gives nothing defined on a GPU; here it gives NaN bytes.
template <class T>
T shuffle(unsigned mask, T value, unsigned source, std::source_location site) {
  static_assert(std::is_arithmetic_v<T>, "shuffles move one arithmetic value");
  Warp& warp = warp_of(*here.current);
  const bool given = (mask & warp.present) >> source & 1u;
  if ((mask & warp.present) == warp.present) {
    value = exchange_in_warp(warp, mask, value, source, site);
  } else {
    struct Exchange {
      T value, result;
      unsigned source;
    } mine{value, value, source};
    const auto exchange = [](Exchange** lanes) {
      for (unsigned lane = 0; lane < kWarpThreads; ++lane) {
        if (lanes[lane] == nullptr) continue;
        const Exchange* from = lanes[lanes[lane]->source];
        if (from != nullptr) lanes[lane]->result = from->value;
      }
    };
    warp_collective(mask, mine, exchange, site);
    value = mine.result;
  }
  if (!given) std::memset(&value, 0xFF, sizeof(T));
  return value;
}

inline unsigned segment(int width) { return lane_id() & ~unsigned(width - 1); }  // its first lane

struct Vote {
  unsigned predicate, ballot;
};

inline unsigned ballot(unsigned mask, bool predicate, std::source_location site) {
  Vote mine{predicate ? 1u : 0u, 0u};
  const auto count = [](Vote** lanes) {
    unsigned ballot = 0;
    for (unsigned lane = 0; lane < kWarpThreads; ++lane) {
      if (lanes[lane] != nullptr) ballot |= lanes[lane]->predicate << lane;
    }
    for (unsigned lane = 0; lane < kWarpThreads; ++lane) {
      if (lanes[lane] != nullptr) lanes[lane]->ballot = ballot;
    }
  };
  warp_collective(mask, mine, count, site);
  return mine.ballot;
}

}  // namespace detail
}  // namespace espalier::simt

template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32,
              std::source_location site = std::source_location::current()) {
  namespace simt = espalier::simt::detail;
  return simt::shuffle(mask, value, simt::segment(width) | (unsigned(source) & unsigned(width - 1)), site);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32,
                 std::source_location site = std::source_location::current()) {
  namespace simt = espalier::simt::detail;
  const unsigned lane = simt::lane_id();
  return simt::shuffle(mask, value, lane - simt::segment(width) < delta ? lane : lane - delta, site);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32,
                   std::source_location site = std::source_location::current()) {
  namespace simt = espalier::simt::detail;
  const unsigned lane = simt::lane_id(), end = simt::segment(width) + unsigned(width);
  return simt::shuffle(mask, value, delta >= end - lane ? lane : lane + delta, site);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lane_mask, int width = 32,
                  std::source_location site = std::source_location::current()) {
  namespace simt = espalier::simt::detail;
  const unsigned lane = simt::lane_id(), source = (lane ^ unsigned(lane_mask)) & 31u;
  // A lane of a later segment is out of reach, one of an earlier segment is not.
  return simt::shuffle(mask, value, source >= simt::segment(width) + unsigned(width) ? lane : source, site);
}

inline unsigned __ballot_sync(unsigned mask, int predicate,
                              std::source_location site = std::source_location::current()) {
  return espalier::simt::detail::ballot(mask, predicate != 0, site);
}
inline int __any_sync(unsigned mask, int predicate, std::source_location site = std::source_location::current()) {
  return espalier::simt::detail::ballot(mask, predicate != 0, site) != 0;
}
inline int __all_sync(unsigned mask, int predicate, std::source_location site = std::source_location::current()) {
  return espalier::simt::detail::ballot(mask, predicate == 0, site) == 0;
}
inline void __syncwarp(unsigned mask = 0xFFFFFFFFu, std::source_location site = std::source_location::current()) {
  if (espalier::simt::detail::meet(mask, site)) espalier::simt::detail::release(mask);
}
unsigned __activemask();  // the threads of the warp that have not returned
