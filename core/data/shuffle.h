// A permutation that depends on (seed, round) alone, the same on every machine: Fisher and Yates over mt19937_64, with
// Lemire's multiply-shift for the draw (std::shuffle and std::uniform_int_distribution differ between libraries).
#pragma once
#include <cstdint>
#include <numeric>
#include <random>
#include <utility>
#include <vector>

namespace espalier::data {

inline std::vector<std::int32_t> shuffled(std::int64_t count, std::uint64_t seed, std::uint64_t round) {
  std::vector<std::int32_t> order(static_cast<std::size_t>(count));
  std::iota(order.begin(), order.end(), 0);
  std::seed_seq sequence{std::uint32_t(seed), std::uint32_t(seed >> 32), std::uint32_t(round),
                         std::uint32_t(round >> 32)};
  std::mt19937_64 engine(sequence);
  for (std::uint64_t left = std::uint64_t(count); left > 1; --left) {
    const std::uint64_t pick = (engine() >> 32) * left >> 32;
    std::swap(order[left - 1], order[pick]);
  }
  return order;
}

}  // namespace espalier::data
