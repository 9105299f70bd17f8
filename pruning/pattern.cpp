#include "pruning/pattern.h"

#include <algorithm>
#include <cmath>

#include "core/device/stream.h"
#include "kernels/pattern.h"
#include "kernels/require.h"
#include "pruning/choice.h"
#include "pruning/schedule.h"

namespace espalier::pruning {
namespace {

// One round of the contest: exactly `kept` live, or as near as floors and ceilings allow. Tensors that break a limit
// are given it and leave; true if none did. Which limits go first follows from what breaking them amounts to, as when
// boxes share a line: if the floors ask for more than the ceilings give up, the floors.
bool share_once(std::vector<kernels::ScoredTensor>& contest, std::int64_t& kept, const Budget& budget) {
  std::int64_t floors = 0, ceilings = 0, missing = 0;
  std::vector<kernels::MaskedTensor> masked;
  for (const auto& tensor : contest) {
    const Limits limits(tensor.count, budget);
    floors += limits.floor;
    ceilings += limits.ceiling;
    masked.push_back({tensor.keep, tensor.count});
  }
  keep_highest(contest, std::clamp(kept, floors, ceilings));
  const std::vector<std::int64_t> counts = count_kept(masked);
  for (std::size_t i = 0; i < contest.size(); ++i) {
    const Limits limits(contest[i].count, budget);
    missing += std::clamp(counts[i], limits.floor, limits.ceiling) - counts[i];
  }
  std::vector<kernels::ScoredTensor> rest;
  for (std::size_t i = 0; i < contest.size(); ++i) {
    const Limits limits(contest[i].count, budget);
    const bool settled = (counts[i] < limits.floor && missing >= 0) || (counts[i] > limits.ceiling && missing <= 0);
    if (!settled) {
      rest.push_back(contest[i]);
      continue;
    }
    const std::int64_t limit = std::clamp(counts[i], limits.floor, limits.ceiling);
    keep_highest({contest[i]}, limit);
    kept -= limit;
  }
  const bool done = rest.size() == contest.size();
  contest = std::move(rest);
  return done;
}

std::vector<Mask> empty_masks(std::span<const Tensor> scores) {
  std::vector<Mask> masks;
  for (const Tensor& score : scores) masks.push_back({Tensor::empty(score.shape(), DType::u8)});
  return masks;
}

}  // namespace

Limits::Limits(std::int64_t count, const Budget& budget)
    : floor(std::clamp<std::int64_t>(std::llround(std::ceil(budget.min_density * double(count) - 1e-9)), 1, count)),
      ceiling(std::clamp<std::int64_t>(std::llround(std::floor(budget.max_density * double(count) + 1e-9)), floor,
                                       count)) {}

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
    std::int64_t kept = total - std::llround(budget.sparsity * double(total));
    while (!contest.empty() && !share_once(contest, kept, budget)) {
    }
    return masks;
  };
}

Pattern n_of_m(int n, int m, RaggedRows ragged) {
  require(1 <= n && n <= m && m <= 32, "n_of_m: ", n, " of ", m, "; needs 1 <= n <= m <= 32");
  return [n, m, ragged](std::span<const Tensor> scores, const Budget&) {
    std::vector<Mask> masks = empty_masks(scores);
    for (std::size_t i = 0; i < scores.size(); ++i) {
      const std::int64_t rows = scores[i].shape()[0], columns = scores[i].size() / rows;
      require(ragged == RaggedRows::shorter_run || columns % m == 0, "n_of_m: ", m, " does not divide the rows of ",
              columns, " weights of a weight ", scores[i].shape().to_string(),
              "; leave that layer out with `ignore`, or allow a shorter run at the end of each row");
      kernels::keep_n_of_m({.rows = rows, .columns = columns}, n, m, scores[i].data<float>(),
                           masks[i].keep.data<std::uint8_t>(), current_stream());
    }
    return masks;
  };
}

}  // namespace espalier::pruning
