// The model behind gemm_plan(): what a multiprocessor needs for a step of depth of the blocks that it holds, times the
// rounds of blocks on the busiest one, plus what a split costs. Source of the form: the latency term of the calibrated
// counter model (norm 1.5 of throughput and of a lone block's latency); of the numbers: static counts of the main loops
// (ptxas 13.0, sm_80) over 4 schedulers, 1.4 clocks an instruction for a lone warp, 128 bytes of shared memory a clock.
#include "kernels/gemm_plan.h"

#include <array>
#include <cmath>

#include "kernels/pipelined_product.h"

namespace espalier::kernels {
namespace {

constexpr int kMostResident = 8;

// Clocks for each step of depth: `busy` of the multiprocessor's pipes for one block, `alone` for a block with nobody
// beside it.
struct TileCost {
  GemmTile tile;
  index_t rows, columns, partial_floats;
  int resident;  // blocks on a multiprocessor
  float busy, alone;
};

template <class Tile>
constexpr TileCost cost_of(GemmTile name, int resident, float busy, float alone) {
  return {name, Tile::kM, Tile::kN, kPartialFloats<Tile>, resident, busy, alone};
}
constexpr TileCost kTiles[] = {cost_of<PipelinedLargeTile>(GemmTile::large, 3, 140, 200),
                               cost_of<PipelinedMediumTile>(GemmTile::medium, 4, 56, 58),
                               cost_of<PipelinedSmallTile>(GemmTile::small, 8, 21, 33)};

constexpr index_t kMultiprocessors[] = {108, 128, 132};  // A100, RTX 4090, H100
constexpr index_t kSplits[] = {1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 48, 64};
constexpr index_t kLeastDepth = 64, kStepDepth = PipelinedLargeTile::kK;
constexpr float kBlockClocks = 2500;        // prologue and epilogue of a round of blocks
constexpr float kSplitClocks = 2000;        // fence, counter, and the first partial sums to arrive
constexpr float kPartialBytesAClock = 64;   // into one multiprocessor, from the L2 cache
constexpr float kDeviceBytesAClock = 1000;  // to and from all of them, partly past that cache
constexpr index_t kManyRounds = 4;          // from here on blocks are handed out as others end

// By number of resident blocks less one.
using DepthClocks = std::array<float, kMostResident>;
DepthClocks depth_clocks(const TileCost& tile) {
  DepthClocks clocks{};
  for (int n = 0; n < tile.resident; ++n) {
    clocks[std::size_t(n)] =
        std::pow(std::pow(float(n + 1) * tile.busy, 1.5f) + std::pow(tile.alone, 1.5f), 1.0f / 1.5f);
  }
  return clocks;
}

// What the busiest of so many multiprocessors takes.
float modelled_clocks(const TileCost& tile, const DepthClocks& clocks, index_t blocks, index_t depth,
                      index_t multiprocessors) {
  const index_t busiest = ceil_div(blocks, multiprocessors);
  const index_t rounds = busiest / tile.resident, rest = busiest % tile.resident;
  const float full = clocks[std::size_t(tile.resident - 1)];
  if (rounds >= kManyRounds) {
    const float average = float(blocks) / float(multiprocessors * tile.resident);
    return float(depth) * (average * full + 0.5f * clocks[0]) + average * kBlockClocks;
  }
  return float(depth) * (float(rounds) * full + (rest > 0 ? clocks[std::size_t(rest - 1)] : 0.0f)) +
         float(rounds + (rest > 0 ? 1 : 0)) * kBlockClocks;
}

// The mean of the GPUs, and what splits cost on top.
float mean_clocks(const TileCost& tile, const DepthClocks& clocks, index_t tiles, index_t splits, index_t depth) {
  float sum = 0;
  for (const index_t count : kMultiprocessors) sum += modelled_clocks(tile, clocks, tiles * splits, depth, count);
  sum /= std::size(kMultiprocessors);
  if (splits == 1) return sum;
  const float bytes = float(splits * tile.partial_floats) * sizeof(float);
  return sum + kSplitClocks + bytes / kPartialBytesAClock + 2 * float(tiles) * bytes / kDeviceBytesAClock;
}

// The best of a tile's splits.
GemmPlan best_splits(const GemmShape& shape, const TileCost& tile, const DepthClocks& clocks, index_t room) {
  const index_t tiles = ceil_div(shape.m, tile.rows) * ceil_div(shape.n, tile.columns);
  GemmPlan best;
  for (const index_t wanted : kSplits) {
    const index_t depth = ceil_div(ceil_div(shape.k, wanted), kStepDepth) * kStepDepth;
    const index_t splits = std::max<index_t>(1, ceil_div(shape.k, std::max(depth, kStepDepth)));
    const index_t floats = splits == 1 ? 0 : tiles * splits * tile.partial_floats;
    if (wanted > 1 && (depth < kLeastDepth || floats > room)) break;
    const float modelled = mean_clocks(tile, clocks, tiles, splits, depth);
    if (wanted == 1 || modelled < best.clocks) best = {tile.tile, splits, depth, floats, modelled};
  }
  return best;
}

GemmPlan plan_with(std::size_t tile, const GemmShape& shape, index_t room) {
  static const std::array<DepthClocks, std::size(kTiles)> clocks = {depth_clocks(kTiles[0]), depth_clocks(kTiles[1]),
                                                                    depth_clocks(kTiles[2])};
  return best_splits(shape, kTiles[tile], clocks[tile], room);
}

}  // namespace

GemmPlan gemm_plan(const GemmShape& shape, GemmTile tile, index_t workspace_floats) {
  const bool free = tile == GemmTile::automatic || tile == GemmTile::thin;
  GemmPlan best;
  bool found = false;
  for (std::size_t i = 0; i < std::size(kTiles); ++i) {
    if (!free && kTiles[i].tile != tile) continue;
    const GemmPlan plan = plan_with(i, shape, workspace_floats);
    if (!found || plan.clocks < best.clocks) best = plan;
    found = true;
  }
  return best;
}

GemmTile gemm_pair_tile(const GemmShape& first, const GemmShape& second) {
  std::size_t best = 0;
  const auto clocks = [&](std::size_t i) {
    return plan_with(i, first, INT64_MAX).clocks + plan_with(i, second, INT64_MAX).clocks;
  };
  for (std::size_t i = 1; i < std::size(kTiles); ++i) {
    if (clocks(i) < clocks(best)) best = i;
  }
  return kTiles[best].tile;
}

}  // namespace espalier::kernels
