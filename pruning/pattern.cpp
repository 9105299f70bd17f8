#include "pruning/pattern.h"

#include <algorithm>
#include <cmath>

#include "core/device/stream.h"
#include "kernels/mask.h"
#include "kernels/pattern.h"
#include "kernels/require.h"
#include "pruning/schedule.h"

namespace espalier::pruning {
namespace {

// Exactly `kept` of all given tensors together.
void keep_highest(const std::vector<kernels::ScoredTensor>& tensors, std::int64_t kept) {
  const auto bytes = std::int64_t(kernels::keep_highest_workspace_bytes(tensors));
  const Tensor workspace = Tensor::empty({bytes + 1}, DType::u8);
  kernels::keep_highest(tensors, kept, workspace.raw(), current_stream());
}

std::vector<std::int64_t> count_kept(const std::vector<kernels::ScoredTensor>& tensors) {
  std::vector<kernels::MaskedTensor> masked;
  for (const auto& tensor : tensors) masked.push_back({tensor.keep, tensor.count});
  const Tensor counts = Tensor::empty({std::int64_t(tensors.size())}, DType::i64);
  kernels::count_kept(masked, counts.data<std::int64_t>(), current_stream());
  return counts.to_host_as<std::int64_t>();
}

std::int64_t floor_of(std::int64_t count, double min_density) {
  return std::clamp<std::int64_t>(std::llround(std::ceil(min_density * double(count) - 1e-9)), 1, count);
}

// Tensors that would fall below their floor are given it and leave the contest; the others share what is left.
void share_out(std::vector<kernels::ScoredTensor> contest, std::int64_t kept, double min_density) {
  while (!contest.empty()) {
    std::int64_t capacity = 0, floors = 0;
    for (const auto& tensor : contest) {
      capacity += tensor.count;
      floors += floor_of(tensor.count, min_density);
    }
    keep_highest(contest, std::clamp(kept, std::min(floors, capacity), capacity));
    const std::vector<std::int64_t> counts = count_kept(contest);
    std::vector<kernels::ScoredTensor> rest;
    for (std::size_t i = 0; i < contest.size(); ++i) {
      const std::int64_t floor = floor_of(contest[i].count, min_density);
      if (counts[i] >= floor) {
        rest.push_back(contest[i]);
        continue;
      }
      keep_highest({contest[i]}, floor);
      kept -= floor;
    }
    if (rest.size() == contest.size()) return;
    contest = std::move(rest);
  }
}

std::vector<Mask> empty_masks(std::span<const Tensor> scores) {
  std::vector<Mask> masks;
  for (const Tensor& score : scores) masks.push_back({Tensor::empty(score.shape(), DType::u8)});
  return masks;
}

}  // namespace

Pattern unstructured() {
  return [](std::span<const Tensor> scores, const Budget& budget) {
    require_sparsity(budget.sparsity);
    std::vector<Mask> masks = empty_masks(scores);
    std::vector<kernels::ScoredTensor> contest;
    std::int64_t total = 0;
    for (std::size_t i = 0; i < scores.size(); ++i) {
      contest.push_back({scores[i].data<float>(), masks[i].keep.data<std::uint8_t>(), scores[i].size()});
      total += scores[i].size();
    }
    share_out(std::move(contest), total - std::llround(budget.sparsity * double(total)), budget.min_density);
    return masks;
  };
}

Pattern n_of_m(int n, int m) {
  require(1 <= n && n <= m && m <= 32, "n_of_m: ", n, " of ", m, "; needs 1 <= n <= m <= 32");
  return [n, m](std::span<const Tensor> scores, const Budget&) {
    std::vector<Mask> masks = empty_masks(scores);
    for (std::size_t i = 0; i < scores.size(); ++i) {
      const std::int64_t rows = scores[i].shape()[0];
      kernels::keep_n_of_m({.rows = rows, .columns = scores[i].size() / rows}, n, m, scores[i].data<float>(),
                           masks[i].keep.data<std::uint8_t>(), current_stream());
    }
    return masks;
  };
}

}  // namespace espalier::pruning
