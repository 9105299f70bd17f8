// The order of columns of which N:M keeps most: swaps, best first, and escapes from where none helps.
#pragma once
#include <cstdint>
#include <functional>
#include <vector>

namespace espalier::pruning {

// A matrix of magnitudes whose columns come in channels of `width`, column by column: [channel][row][width].
struct ReadMatrix {
  std::int64_t rows = 0, width = 1;
  std::vector<float> magnitude;
  const float* channel(std::int64_t i) const { return magnitude.data() + i * rows * width; }
};

struct SwapOptions {
  int n = 2, m = 4, escapes = 8;
  std::int64_t in_sight = 64;                                // stripes
  std::function<std::uint32_t(std::uint32_t below)> random;  // in [0, below)
};

struct SwapResult {
  std::vector<std::int64_t> order;  // the channel at each place
  double before = 0, after = 0;
  int swaps = 0;
};

// Channels that fill no whole stripe at the end keep their places.
SwapResult best_order(const std::vector<ReadMatrix>& readers, std::int64_t channels, const SwapOptions& options);

}  // namespace espalier::pruning
