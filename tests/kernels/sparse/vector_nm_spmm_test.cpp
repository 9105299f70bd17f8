// Vector-wise N:M: the format gives back its weight, and the product equals the dense one with zeros, in double.
#include "kernels/sparse/vector_nm_spmm.h"

#include <doctest/doctest.h>

#include "kernels/require.h"
#include "kernels/sparse/encode_vector_nm.h"
#include "tests/support/sparse_buffers.h"

namespace espalier::test {
namespace {

using kernels::Activation;
using kernels::SparseTeam;
using kernels::VectorNmView;

struct VectorNmBuffers {
  VectorNmBuffers(std::int64_t rows, std::int64_t columns, std::int64_t height, const std::vector<float>& weight)
      : layout{rows, columns, height}, offsets(std::size_t(layout.groups()) + 1), indices(0), values(0) {
    const BlockCsrBuffers blocks(rows, columns, {height, 1}, weight);
    kernels::vector_nm_pad(blocks.view(), offsets.data(), nullptr);
    layout.vectors = offsets.download().back(), layout.group_offsets = offsets.data();
    indices = GuardedBuffer<std::int32_t>(std::size_t(layout.vectors));
    values = GuardedBuffer<float>(std::size_t(layout.vectors * height));
    kernels::vector_nm_fill(blocks.view(), layout, indices.data(), values.data(), nullptr);
    layout.column_indices = indices.data(), layout.values = values.data();
  }
  bool guards_intact() const { return offsets.guards_intact() && indices.guards_intact() && values.guards_intact(); }
  VectorNmView layout;
  GuardedBuffer<std::int32_t> offsets, indices;
  GuardedBuffer<float> values;
};

// Each vector of `height` rows lives or falls as a whole.
std::vector<float> vector_weight(std::int64_t rows, std::int64_t columns, std::int64_t height, double sparsity) {
  std::vector<float> weight = sparse_weight(rows, columns, 0.0, 5);
  const std::vector<float> lives = sparse_weight((rows + height - 1) / height, columns, sparsity, 6);
  for (std::size_t i = 0; i < weight.size(); ++i) {
    const std::int64_t row = std::int64_t(i) / columns, column = std::int64_t(i) % columns;
    if (lives[std::size_t(row / height * columns + column)] == 0.0f) weight[i] = 0.0f;
  }
  return weight;
}

struct Problem {
  std::int64_t batch, rows, columns, height;
  double sparsity = 0.7;
  Activation activation = Activation::relu;
};

void check(const Problem& p, const std::vector<float>& weight) {
  CAPTURE(p.batch);
  CAPTURE(p.rows);
  CAPTURE(p.columns);
  CAPTURE(p.height);
  const VectorNmBuffers vectors(p.rows, p.columns, p.height, weight);
  CHECK(vectors.guards_intact());
  const auto x = random_floats(std::size_t(p.batch * p.columns), 1), bias = random_floats(std::size_t(p.rows), 2);
  const auto expected = reference_linear(p.batch, p.rows, p.columns, x, weight, bias, p.activation);
  const GuardedBuffer<float> device_x(x), device_bias(bias);
  for (const SparseTeam team : {SparseTeam::automatic, SparseTeam::warp}) {
    if (team == SparseTeam::warp && !simt::kEmulated) continue;  // automatic is a warp there
    CAPTURE(int(team));
    GuardedBuffer<float> y(expected.size());
    GuardedBuffer<float> panels(std::size_t(kernels::vector_nm_panels(p.batch, vectors.layout, team).elements()));
    kernels::vector_nm_spmm(p.batch, vectors.layout, device_x.data(), {device_bias.data(), p.activation}, y.data(),
                            panels.data(), nullptr, team);
    CHECK(y.guards_intact());
    CHECK(panels.guards_intact());
    CHECK(difference(y.download(), expected, 1e-5, sum_tolerance(p.columns)) == "");
  }
}

void check(const Problem& p) { check(p, vector_weight(p.rows, p.columns, p.height, p.sparsity)); }

TEST_CASE("vector n:m: decode(encode(w)) == w, groups are padded to whole steps") {
  for (const std::int64_t height : {1, 4, 8, 32}) {
    for (const auto& [rows, columns] : {std::pair<std::int64_t, std::int64_t>{1, 1}, {7, 33}, {40, 9}, {65, 70}}) {
      for (const double sparsity : {0.0, 0.8, 1.0}) {
        const auto weight = sparse_weight(rows, columns, sparsity, 3);
        const VectorNmBuffers vectors(rows, columns, height, weight);
        GuardedBuffer<float> decoded(weight.size());
        kernels::vector_nm_decode(vectors.layout, decoded.data(), nullptr);
        CHECK(decoded.download() == weight);
        CHECK(decoded.guards_intact());
        CHECK(vectors.guards_intact());
        for (const std::int32_t offset : vectors.offsets.download()) CHECK(offset % VectorNmView::kAtOnce == 0);
      }
    }
  }
}

TEST_CASE("vector n:m: many groups are scanned across the whole block") {
  const auto weight = sparse_weight(2003, 3, 0.7, 3);
  const VectorNmBuffers vectors(2003, 3, 4, weight);
  GuardedBuffer<float> decoded(weight.size());
  kernels::vector_nm_decode(vectors.layout, decoded.data(), nullptr);
  CHECK(decoded.download() == weight);
}

TEST_CASE("vector_nm_spmm equals the dense product with zeros for every height, at odd and tile-edge sizes") {
  for (const std::int64_t height : {4, 8, 16, 32}) {
    for (const std::int64_t rows : {1, 31, 32, 33, 68}) check({3, rows, 50, height});
    for (const std::int64_t columns : {1, 8, 97, 260}) check({5, 36, columns, height});
  }
}

TEST_CASE("vector_nm_spmm at every batch around a panel") {
  for (const std::int64_t batch : {1, 2, 16, 17, 63, 64, 65, 129}) check({batch, 40, 33, 16});
}

TEST_CASE("vector_nm_spmm where warps have no, one, two and different numbers of steps") {
  for (const std::int64_t height : {4, 8, 16, 32}) {
    for (const std::int64_t columns : {8, 16, 40, 64, 65, 130, 250}) check({66, height + 1, columns, height, 0.0});
  }
}

TEST_CASE("vector_nm_spmm from an empty to a full weight, with every activation") {
  for (const double sparsity : {0.0, 0.97, 1.0}) check({10, 48, 70, 16, sparsity});
  for (const Activation a : {Activation::none, Activation::leaky_relu, Activation::gelu, Activation::tanh}) {
    check({10, 24, 40, 8, 0.9, a});
  }
}

TEST_CASE("vector_nm_spmm takes any mask, empty and full rows too") {
  for (const std::int64_t height : {4, 16, 32}) check({9, 37, 45, height}, uneven_weight(37, 45, 0.7, 3));
}

TEST_CASE("vector_nm_spmm refuses heights that it has no kernel for") {
  CHECK_THROWS_WITH_AS(kernels::vector_nm_spmm(1, {6, 3, 6}, nullptr, {}, nullptr, nullptr, nullptr),
                       "vector_nm_spmm: vectors of 6 rows; there are kernels for 4, 8, 16 and 32", InvalidArgument);
}

}  // namespace
}  // namespace espalier::test
