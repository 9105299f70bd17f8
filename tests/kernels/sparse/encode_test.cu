// Every format gives back the weight it was made from, whatever its rows look like.
#include "kernels/sparse/encode.h"

#include <doctest/doctest.h>

#include "kernels/require.h"
#include "tests/support/sparse_buffers.h"

namespace espalier::test {
namespace {

struct Size {
  std::int64_t rows, columns;
};
// Around the widths that the kernels know: a warp, a metadata word, the blocks, a block of 8 teams.
const std::vector<Size> kSizes = {{1, 1}, {1, 37}, {7, 1}, {3, 31}, {8, 32}, {9, 33}, {17, 64}, {31, 65}, {70, 129}};
constexpr double kSparsities[] = {0.0, 0.5, 0.9, 1.0};

std::vector<float> decode(std::int64_t rows, std::int64_t columns, const auto& launcher, const auto& view) {
  GuardedBuffer<float> dense(std::size_t(rows * columns));
  launcher(view, dense.data(), nullptr);
  CHECK(dense.guards_intact());
  return dense.download();
}

template <class Body>
void for_each_weight(Body body) {
  for (const auto [rows, columns] : kSizes) {
    for (const double sparsity : kSparsities) {
      CAPTURE(rows);
      CAPTURE(columns);
      CAPTURE(sparsity);
      body(rows, columns, sparse_weight(rows, columns, sparsity, unsigned(rows + columns)));
    }
    body(rows, columns, uneven_weight(rows, columns, 0.7, unsigned(rows)));
  }
}

TEST_CASE("csr: decode(encode(w)) == w, columns ascend, offsets count") {
  for_each_weight([](std::int64_t rows, std::int64_t columns, const std::vector<float>& weight) {
    const CsrBuffers csr(rows, columns, weight);
    CHECK(csr.guards_intact());
    CHECK(decode(rows, columns, kernels::csr_decode, csr.view()) == weight);
    const auto offsets = csr.row_offsets.download();
    const auto indices = csr.column_indices.download();
    const auto zeros = std::count(weight.begin(), weight.end(), 0.0f);
    CHECK(offsets.front() == 0);
    CHECK(offsets.back() == std::int64_t(weight.size()) - zeros);
    for (std::size_t r = 0; r + 1 < offsets.size(); ++r) {
      CHECK(std::is_sorted(indices.begin() + offsets[r], indices.begin() + offsets[r + 1]));
    }
  });
}

TEST_CASE("csr: many rows are scanned across the whole block") {
  const std::int64_t rows = 1003, columns = 5;
  const std::vector<float> weight = sparse_weight(rows, columns, 0.6, 3);
  const CsrBuffers csr(rows, columns, weight);
  CHECK(decode(rows, columns, kernels::csr_decode, csr.view()) == weight);
}

TEST_CASE("csr: a negative zero is dropped") {
  const CsrBuffers csr(1, 3, {-0.0f, 2.0f, 0.0f});
  CHECK(csr.view().nonzeros == 1);
}

TEST_CASE("block csr: decode(encode(w)) == w for square, flat and ragged blocks") {
  for (const kernels::BlockShape block : {kernels::BlockShape{8, 8}, {16, 16}, {1, 4}, {3, 5}, {1, 1}}) {
    CAPTURE(block.rows);
    for_each_weight([&](std::int64_t rows, std::int64_t columns, const std::vector<float>& weight) {
      const BlockCsrBuffers blocks(rows, columns, block, weight);
      CHECK(blocks.guards_intact());
      CHECK(decode(rows, columns, kernels::block_csr_decode, blocks.view()) == weight);
    });
  }
}

TEST_CASE("block csr: only blocks with a nonzero are kept") {
  std::vector<float> weight(16 * 24, 0.0f);
  weight[9 * 24 + 17] = 1.0f;
  const BlockCsrBuffers blocks(16, 24, {8, 8}, weight);
  CHECK(blocks.row_offsets.download() == std::vector<std::int32_t>{0, 0, 1});
  CHECK(blocks.column_indices.download() == std::vector<std::int32_t>{2});
}

TEST_CASE("2:4: decode(encode(w)) == w, places ascend and differ") {
  for_each_weight([](std::int64_t rows, std::int64_t columns, std::vector<float> weight) {
    obey_two_four(weight, columns);
    const TwoFourBuffers two_four(rows, columns, weight);
    CHECK(two_four.guards_intact());
    CHECK(decode(rows, columns, kernels::two_four_decode, two_four.view()) == weight);
    for (const std::uint32_t word : two_four.metadata.download()) {
      for (int group = 0; group < 8; ++group) CHECK((word >> (4 * group) & 3u) < (word >> (4 * group + 2) & 3u));
    }
  });
}

std::int32_t violations(std::int64_t rows, std::int64_t columns, const std::vector<float>& weight) {
  const GuardedBuffer<float> dense(weight);
  GuardedBuffer<std::int32_t> count(1);
  kernels::two_four_violations({rows, columns}, dense.data(), count.data(), nullptr);
  CHECK(count.guards_intact());
  return count.download()[0];
}

TEST_CASE("2:4: groups with more than two nonzeros are counted, ragged ends included") {
  for_each_weight([](std::int64_t rows, std::int64_t columns, std::vector<float> weight) {
    std::int32_t expected = 0;
    for (std::int64_t row = 0; row < rows; ++row) {
      for (std::int64_t first = 0; first < columns; first += 4) {
        int nonzeros = 0;
        for (std::int64_t c = first; c < std::min(first + 4, columns); ++c) {
          nonzeros += weight[std::size_t(row * columns + c)] != 0.0f;
        }
        expected += nonzeros > 2;
      }
    }
    CHECK(violations(rows, columns, weight) == expected);
    obey_two_four(weight, columns);
    CHECK(violations(rows, columns, weight) == 0);
  });
}

TEST_CASE("encode: an empty weight is refused with its sizes") {
  std::int32_t offsets[1];
  const kernels::WeightShape empty{0, 3};
  CHECK_THROWS_WITH_AS(kernels::csr_count(empty, nullptr, offsets, nullptr),
                       "csr_count: the weight is 0 x 3; both must be at least 1", InvalidArgument);
}

}  // namespace
}  // namespace espalier::test
