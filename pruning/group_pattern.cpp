// Patterns of whole groups: the device reduces scores to one per group, the host ranks those few hundred, the device
// spreads the choice over the weights.
#include <algorithm>

#include "core/device/stream.h"
#include "kernels/require.h"
#include "pruning/pattern.h"
#include "pruning/schedule.h"

namespace espalier::pruning {
namespace {

struct RankedGroup {
  float score;
  std::size_t tensor;
  std::int64_t index, weights;
};

struct GroupsOfTensor {
  kernels::TiledMatrix tiles;
  std::int64_t living;  // in groups
  Limits limits;
  std::vector<std::uint8_t> keep;
  void remove(std::int64_t index) {
    keep[std::size_t(index)] = 0;
    --living;
  }
};

std::int64_t weights_of(const kernels::TiledMatrix& tiles, std::int64_t index) {
  const std::int64_t row = index / tiles.tiles_across() * tiles.tile_rows;
  const std::int64_t column = index % tiles.tiles_across() * tiles.tile_columns;
  return std::min(tiles.tile_rows, tiles.rows - row) * std::min(tiles.tile_columns, tiles.columns - column);
}

GroupsOfTensor groups_of(const kernels::TiledMatrix& tiles, const Budget& budget) {
  return {tiles, tiles.tiles(), {tiles.tiles(), budget}, std::vector<std::uint8_t>(std::size_t(tiles.tiles()), 1)};
}

// From the lowest score up: first what the ceilings forbid, then until the budget is met as nearly as whole groups can.
void remove_lowest(const std::vector<RankedGroup>& ranked, std::vector<GroupsOfTensor>& tensors, double weights) {
  std::vector<std::int64_t> above_ceiling;
  for (const GroupsOfTensor& tensor : tensors) above_ceiling.push_back(tensor.living - tensor.limits.ceiling);
  for (const RankedGroup& group : ranked) {
    if (above_ceiling[group.tensor]-- <= 0) continue;
    tensors[group.tensor].remove(group.index);
    weights -= double(group.weights);
  }
  for (const RankedGroup& group : ranked) {
    GroupsOfTensor& tensor = tensors[group.tensor];
    if (tensor.keep[std::size_t(group.index)] == 0 || tensor.living <= tensor.limits.floor) continue;
    if (weights < 0.5 * double(group.weights)) return;
    tensor.remove(group.index);
    weights -= double(group.weights);
  }
}

}  // namespace

Pattern whole(Grouping groups) {
  return [groups = std::move(groups)](std::span<const Tensor> scores, const Budget& budget) {
    require_sparsity(budget.sparsity);
    std::vector<GroupsOfTensor> tensors;
    std::vector<RankedGroup> ranked;
    double total = 0;
    for (std::size_t i = 0; i < scores.size(); ++i) {
      tensors.push_back(groups_of(groups(scores[i].shape()), budget));
      const kernels::TiledMatrix& tiles = tensors.back().tiles;
      const Tensor means = Tensor::empty({tiles.tiles()});
      kernels::reduce_tiles(tiles, kernels::TileReduction::mean, scores[i].data<float>(), means.data<float>(),
                            current_stream());
      const std::vector<float> host = means.to_host();
      for (std::int64_t group = 0; group < tiles.tiles(); ++group) {
        ranked.push_back({host[std::size_t(group)], i, group, weights_of(tiles, group)});
      }
      total += double(scores[i].size());
    }
    // Of equal groups the later falls first, as in unstructured().
    std::reverse(ranked.begin(), ranked.end());
    std::stable_sort(ranked.begin(), ranked.end(),
                     [](const RankedGroup& a, const RankedGroup& b) { return a.score < b.score; });
    remove_lowest(ranked, tensors, budget.sparsity * total);
    std::vector<Mask> masks;
    for (std::size_t i = 0; i < scores.size(); ++i) {
      Mask mask{Tensor::empty(scores[i].shape(), DType::u8)};
      const Tensor of_groups = Tensor::from({tensors[i].tiles.tiles()}, tensors[i].keep);
      kernels::spread_keep(tensors[i].tiles, of_groups.data<std::uint8_t>(), mask.keep.data<std::uint8_t>(),
                           current_stream());
      masks.push_back(std::move(mask));
    }
    return masks;
  };
}

}  // namespace espalier::pruning
