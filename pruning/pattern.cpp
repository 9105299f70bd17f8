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

// shape_of(score): a weight as keep_n_of_m() sees it.
template <class ShapeOf>
Pattern of_runs(const char* name, int n, int m, RaggedRows ragged, const ShapeOf& shape_of) {
  require(1 <= n && n <= m && m <= 32, name, ": ", n, " of ", m, "; needs 1 <= n <= m <= 32");
  return [=](std::span<const Tensor> scores, const Budget&) {
    std::vector<Mask> masks = empty_masks(scores);
    for (std::size_t i = 0; i < scores.size(); ++i) {
      const kernels::PlanesShape shape = shape_of(scores[i]);
      require(ragged == RaggedRows::shorter_run || shape.channels % m == 0, name, ": ", m,
              " does not divide the rows of ", shape.channels, " weights of a weight ", scores[i].shape().to_string(),
              "; leave that layer out with `ignore`, or allow a shorter run at the end of each row");
      kernels::keep_n_of_m(shape, n, m, scores[i].data<float>(), masks[i].keep.data<std::uint8_t>(), current_stream());
    }
    return masks;
  };
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
  return of_runs("n_of_m", n, m, ragged, [](const Tensor& score) {
    return kernels::PlanesShape{.batch = score.shape()[0], .channels = score.size() / score.shape()[0]};
  });
}

Pattern n_of_m_channels(int n, int m, RaggedRows ragged) {
  return of_runs("n_of_m_channels", n, m, ragged, [](const Tensor& score) {
    const std::int64_t filters = score.shape()[0], channels = score.shape()[1];
    return kernels::PlanesShape{
        .batch = filters, .channels = channels, .area = score.size() / std::max<std::int64_t>(filters * channels, 1)};
  });
}

}  // namespace espalier::pruning
