// Patterns of whole groups and the limits of layers, against a ranking on the host.
#include "pruning/pattern.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <limits>

#include "kernels/require.h"
#include "tests/support/close.h"
#include "tests/support/reference/scores.h"

namespace espalier::pruning {
namespace {

Tensor random_scores(Shape shape, unsigned seed) {
  const std::vector<float> values = test::random_floats(std::size_t(shape.size()), seed, 0, 1);
  return Tensor::from(std::move(shape), std::span<const float>(values));
}

std::vector<std::uint8_t> host(const Mask& mask) { return mask.keep.to_host_as<std::uint8_t>(); }

// Of one tensor: the groups of highest mean score live.
std::vector<std::uint8_t> whole_reference(const Grouping& grouping, const Tensor& scores, std::int64_t groups_kept) {
  const kernels::TiledMatrix tiles = grouping(scores.shape());
  const auto members = test::tile_members(tiles);
  const auto means = test::reduce_tiles_reference(tiles, kernels::TileReduction::mean, scores.to_host());
  std::vector<std::size_t> order(means.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return means[a] > means[b]; });
  std::vector<std::uint8_t> keep(std::size_t(scores.size()), 0);
  for (std::int64_t rank = 0; rank < groups_kept; ++rank) {
    for (const std::size_t i : members[order[std::size_t(rank)]]) keep[i] = 1;
  }
  return keep;
}

}  // namespace

TEST_CASE("whole: filters, neurons and channels fall by the mean of their scores") {
  const std::vector<Tensor> convolution{random_scores({8, 4, 3, 3}, 1)}, dense{random_scores({10, 33}, 2)};
  CHECK(host(filters()(convolution, {.sparsity = 0.5})[0]) == whole_reference(group::filter(), convolution[0], 4));
  CHECK(host(channels()(convolution, {.sparsity = 0.5})[0]) == whole_reference(group::channel(), convolution[0], 2));
  CHECK(host(neurons()(dense, {.sparsity = 0.7})[0]) == whole_reference(group::neuron(), dense[0], 3));
  CHECK(host(channels()(dense, {.sparsity = 0.9})[0]) == whole_reference(group::channel(), dense[0], 3));
  CHECK(host(whole(group::kernel())(convolution, {.sparsity = 0.75})[0]) ==
        whole_reference(group::kernel(), convolution[0], 8));
}

TEST_CASE("whole: tensors compete, each keeps a group, floors and ceilings count groups") {
  std::vector<Tensor> scores{random_scores({6, 10}, 3), Tensor::full({4, 10}, 2.0f)};
  const auto extreme = filters()(scores, {.sparsity = 0.99});
  CHECK(extreme[0].kept() == 10);
  CHECK(extreme[1].kept() == 10);
  const auto floored = filters()(scores, {.sparsity = 0.6, .min_density = 0.5});
  CHECK(floored[0].kept() == 30);  // alone it would have lost all but one
  CHECK(floored[1].kept() == 20);
  const auto capped = filters()(scores, {.sparsity = 0.4, .max_density = 0.5});
  CHECK(capped[0].kept() == 30);
  CHECK(capped[1].kept() == 20);
  CHECK(filters()(scores, {.sparsity = 0.0})[0].kept() == 60);
  CHECK_THROWS_AS(filters()(scores, {.sparsity = 1.0}), InvalidArgument);
}

TEST_CASE("whole: of equal groups the earlier lives, and one that was pruned before falls first") {
  std::vector<float> values(40, 1.0f);
  std::fill(values.begin(), values.begin() + 10, -std::numeric_limits<float>::infinity());
  const std::vector<Tensor> scores{Tensor::from({4, 10}, std::span<const float>(values))};
  const auto keep = host(filters()(scores, {.sparsity = 0.5})[0]);
  CHECK(std::count(keep.begin(), keep.end(), 1) == 20);
  CHECK((keep[0] == 0 && keep[10] == 1 && keep[20] == 1 && keep[30] == 0));
}

TEST_CASE("unstructured: a layer above its ceiling is cut to it, the others keep what it gives up") {
  const std::vector<Tensor> scores{random_scores({10, 10}, 4), Tensor::full({10, 10}, 2.0f)};
  const auto masks = unstructured()(scores, {.sparsity = 0.5, .max_density = 0.7});
  CHECK(masks[1].kept() == 70);
  CHECK(masks[0].kept() == 30);
  const auto tight = unstructured()(scores, {.sparsity = 0.1, .max_density = 0.7});
  CHECK(tight[0].kept() + tight[1].kept() == 140);
}

}  // namespace espalier::pruning
