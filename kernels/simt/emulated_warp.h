// Warp collectives for g++: lanes meet, the last arrival computes every lane's result. One meeting per collective,
// whatever it computes, so a collective with a larger payload (a matrix product, a whole reduction) costs no more.
#pragma once
#include <cstring>
#include <source_location>
#include <type_traits>

#include "kernels/simt/block.h"

namespace espalier::simt {

// Every lane of `mask` calls this with its payload; compute(Payload* lanes[32]) runs once, with null for lanes outside
// the mask, and may read and write them all. Payloads live on the callers' stacks.
template <class Payload, class Compute>
void warp_collective(unsigned mask, Payload& payload, Compute compute, std::source_location site) {
  if (!detail::arrive_in_warp(mask, &payload, site)) return;
  void** deposited = detail::warp_payloads();
  const unsigned members = mask & detail::live_lanes();
  Payload* lanes[detail::kWarpThreads];
  for (unsigned lane = 0; lane < detail::kWarpThreads; ++lane) {
    lanes[lane] = (members >> lane & 1u) ? static_cast<Payload*>(deposited[lane]) : nullptr;
  }
  compute(lanes);
  detail::release_warp(mask);
}

namespace detail {

inline unsigned lane_id() { return here.current->thread % kWarpThreads; }

// The value another lane of the mask gave; reading a lane outside the mask is undefined on a GPU, NaN bytes here.
template <class T, class Source>
T shuffle(unsigned mask, T value, Source source, std::source_location site) {
  static_assert(std::is_arithmetic_v<T>, "shuffles move one arithmetic value");
  struct Exchange {
    T value, result;
    unsigned source;
  } mine{value, value, source(lane_id())};
  warp_collective(
      mask, mine,
      [](Exchange** lanes) {
        for (unsigned lane = 0; lane < kWarpThreads; ++lane) {
          if (lanes[lane] == nullptr) continue;
          const Exchange* from = lanes[lanes[lane]->source];
          if (from != nullptr)
            lanes[lane]->result = from->value;
          else
            std::memset(&lanes[lane]->result, 0xFF, sizeof(T));
        }
      },
      site);
  return mine.result;
}

struct Vote {
  unsigned predicate, result;
};

}  // namespace detail
}  // namespace espalier::simt

template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32,
              std::source_location site = std::source_location::current()) {
  return espalier::simt::detail::shuffle(
      mask, value,
      [=](unsigned lane) { return (lane & ~unsigned(width - 1)) | (unsigned(source) & unsigned(width - 1)); }, site);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32,
                 std::source_location site = std::source_location::current()) {
  return espalier::simt::detail::shuffle(
      mask, value, [=](unsigned lane) { return (lane & unsigned(width - 1)) < delta ? lane : lane - delta; }, site);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32,
                   std::source_location site = std::source_location::current()) {
  return espalier::simt::detail::shuffle(
      mask, value,
      [=](unsigned lane) { return (lane & unsigned(width - 1)) + delta >= unsigned(width) ? lane : lane + delta; },
      site);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lane_mask, int width = 32,
                  std::source_location site = std::source_location::current()) {
  return espalier::simt::detail::shuffle(
      mask, value,
      [=](unsigned lane) {
        const unsigned source = lane ^ unsigned(lane_mask);  // a higher segment is out of reach, a lower one is not
        return source >= (lane & ~unsigned(width - 1)) + unsigned(width) ? lane : source;
      },
      site);
}

inline unsigned __ballot_sync(unsigned mask, int predicate,
                              std::source_location site = std::source_location::current()) {
  espalier::simt::detail::Vote mine{predicate != 0 ? 1u : 0u, 0u};
  espalier::simt::warp_collective(
      mask, mine,
      [](espalier::simt::detail::Vote** lanes) {
        unsigned ballot = 0;
        for (unsigned lane = 0; lane < 32; ++lane)
          ballot |= lanes[lane] != nullptr ? lanes[lane]->predicate << lane : 0u;
        for (unsigned lane = 0; lane < 32; ++lane) {
          if (lanes[lane] != nullptr) lanes[lane]->result = ballot;
        }
      },
      site);
  return mine.result;
}
inline int __any_sync(unsigned mask, int predicate, std::source_location site = std::source_location::current()) {
  return __ballot_sync(mask, predicate, site) != 0;
}
inline int __all_sync(unsigned mask, int predicate, std::source_location site = std::source_location::current()) {
  return __ballot_sync(mask, predicate == 0, site) == 0;
}
inline void __syncwarp(unsigned mask = 0xFFFFFFFFu, std::source_location site = std::source_location::current()) {
  char nothing = 0;
  if (espalier::simt::detail::arrive_in_warp(mask, &nothing, site)) espalier::simt::detail::release_warp(mask);
}
unsigned __activemask();  // the threads of the warp that have not returned
