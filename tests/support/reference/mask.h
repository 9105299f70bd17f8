// Sorting on the host: which scores are the highest, ties broken by position.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <vector>

namespace espalier::test {

// keep [scores]: 1 for the `kept` highest; NaN above everything, then the earlier of equals.
inline std::vector<std::uint8_t> keep_highest_reference(const std::vector<float>& scores, std::size_t kept) {
  std::vector<std::size_t> order(scores.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    if (std::isnan(scores[a]) || std::isnan(scores[b])) return std::isnan(scores[a]) && !std::isnan(scores[b]);
    return scores[a] > scores[b];
  });
  std::vector<std::uint8_t> keep(scores.size(), 0);
  for (std::size_t i = 0; i < kept; ++i) keep[order[i]] = 1;
  return keep;
}

}  // namespace espalier::test
