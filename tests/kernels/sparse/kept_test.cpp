// Structure, gathering and scattering of kept weights against plain walks over the mask.
#include "kernels/sparse/kept.h"

#include <doctest/doctest.h>

#include "kernels/require.h"
#include "tests/support/kept_buffers.h"

namespace espalier::test {
namespace {

// Row by row, the columns that live.
std::vector<std::int32_t> walk(const std::vector<std::uint8_t>& keep, std::int64_t rows, std::int64_t columns,
                               bool transposed, std::vector<std::int32_t>& offsets) {
  std::vector<std::int32_t> indices;
  offsets = {0};
  for (std::int64_t i = 0; i < (transposed ? columns : rows); ++i) {
    for (std::int64_t j = 0; j < (transposed ? rows : columns); ++j) {
      if (keep[std::size_t(transposed ? j * columns + i : i * columns + j)]) indices.push_back(std::int32_t(j));
    }
    offsets.push_back(std::int32_t(indices.size()));
  }
  return indices;
}

void check(std::int64_t rows, std::int64_t columns, double sparsity) {
  CAPTURE(rows);
  CAPTURE(columns);
  CAPTURE(sparsity);
  const std::vector<float> weight = uneven_weight(rows, columns, sparsity, 7);
  const std::vector<std::uint8_t> keep = keep_of(weight);
  const KeptBuffers kept(rows, columns, keep);
  std::vector<std::int32_t> row_offsets, column_offsets;
  CHECK(kept.column_indices.download() == walk(keep, rows, columns, false, row_offsets));
  CHECK(kept.row_indices.download() == walk(keep, rows, columns, true, column_offsets));
  CHECK(kept.row_offsets.download() == row_offsets);
  CHECK(kept.column_offsets.download() == column_offsets);
  const auto places = kept.places.download(), transposed = kept.transposed.download();
  const auto row_indices = kept.row_indices.download(), column_indices = kept.column_indices.download();
  GuardedBuffer<float> values(places.size()), values_of_transpose(places.size());
  const GuardedBuffer<float> dense(weight);
  kernels::kept_gather(kept.view(), dense.data(), values.data(), values_of_transpose.data(), nullptr);
  const auto gathered = values.download(), by_column = values_of_transpose.download();
  for (std::size_t i = 0; i < places.size(); ++i) {
    const auto at = std::size_t(transposed[i]);
    REQUIRE(places[i] == row_indices[at] * columns + column_indices[i]);
    REQUIRE(gathered[i] == weight[std::size_t(places[i])]);
    REQUIRE(by_column[at] == gathered[i]);
  }
  GuardedBuffer<float> back(std::vector<float>(weight.size(), 0.0f));
  kernels::kept_scatter(kept.view(), values.data(), back.data(), nullptr);
  CHECK(back.download() == weight);
  CHECK(
      (kept.guards_intact() && values.guards_intact() && values_of_transpose.guards_intact() && back.guards_intact()));
}

TEST_CASE("kept weights: structure, transpose and values of odd, prime and tile-edge shapes") {
  for (const std::int64_t rows : {2, 7, 8, 9, 33}) {
    for (const std::int64_t columns : {1, 31, 32, 33, 67}) check(rows, columns, 0.8);
  }
  for (const double sparsity : {0.0, 0.5, 0.99, 1.0}) check(19, 37, sparsity);
}

TEST_CASE("kept weights: a kept zero keeps its place, a mask without any is empty") {
  const KeptBuffers one(2, 3, {0, 1, 0, 0, 0, 0});
  CHECK(one.places.download() == std::vector<std::int32_t>{1});
  const KeptBuffers none(2, 3, std::vector<std::uint8_t>(6, 0));
  CHECK(none.view().kept == 0);
  kernels::kept_gather(none.view(), nullptr, nullptr, nullptr, nullptr);
  CHECK(none.column_offsets.download() == std::vector<std::int32_t>{0, 0, 0, 0});
}

TEST_CASE("kept weights: an empty shape is refused") {
  CHECK_THROWS_WITH_AS(kernels::kept_count({0, 3}, nullptr, nullptr, nullptr), doctest::Contains("the weight is 0 x 3"),
                       InvalidArgument);
}

}  // namespace
}  // namespace espalier::test
