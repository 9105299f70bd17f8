// Patterns of blocks against what a plain search in double chooses.
#include "pruning/structured_pattern.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "kernels/require.h"
#include "tests/support/close.h"

namespace espalier::pruning {
namespace {

struct Matrix {
  std::int64_t rows, columns;
  std::vector<float> scores;
  Tensor tensor() const { return Tensor::from({rows, columns}, std::span<const float>(scores)); }
};

Matrix matrix(std::int64_t rows, std::int64_t columns, unsigned seed = 1) {
  return {rows, columns, test::random_floats(std::size_t(rows * columns), seed, 0, 1)};
}

std::vector<std::uint8_t> keep_of(const Pattern& pattern, const Matrix& m, const Budget& budget = {}) {
  const Tensor scores = m.tensor();
  return pattern({&scores, 1}, budget)[0].keep.to_host_as<std::uint8_t>();
}

// Mean score of each block, row by row of blocks.
std::vector<double> block_means(const Matrix& m, std::int64_t height, std::int64_t width) {
  std::vector<double> means;
  for (std::int64_t row = 0; row < m.rows; row += height) {
    for (std::int64_t column = 0; column < m.columns; column += width) {
      double sum = 0, count = 0;
      for (std::int64_t r = row; r < std::min(row + height, m.rows); ++r) {
        for (std::int64_t c = column; c < std::min(column + width, m.columns); ++c) {
          sum += double(m.scores[std::size_t(r * m.columns + c)]), ++count;
        }
      }
      means.push_back(sum / count);
    }
  }
  return means;
}

// How many of values[first, end) beat values[i].
std::int64_t beaten_by(const std::vector<double>& values, std::int64_t first, std::int64_t end, std::int64_t i) {
  return std::count_if(values.begin() + first, values.begin() + end,
                       [&](double other) { return other > values[std::size_t(i)]; });
}

void check_free(const Pattern& pattern, const Matrix& m, std::int64_t height, std::int64_t width, double sparsity) {
  CAPTURE(height);
  CAPTURE(width);
  const auto keep = keep_of(pattern, m, {.sparsity = sparsity});
  const auto means = block_means(m, height, width);
  const std::int64_t blocks = std::int64_t(means.size()), across = (m.columns + width - 1) / width;
  const std::int64_t kept = blocks - std::llround(sparsity * double(blocks));
  for (std::int64_t i = 0; i < m.rows * m.columns; ++i) {
    const std::int64_t at = i / m.columns / height * across + i % m.columns / width;
    CHECK(bool(keep[std::size_t(i)]) == (beaten_by(means, 0, blocks, at) < kept));
  }
}

TEST_CASE("vector: the best vectors of the whole matrix live, exactly as many as the budget says") {
  check_free(vector(4), matrix(16, 12), 4, 1, 0.75);
  check_free(vector(8), matrix(21, 7), 8, 1, 0.5);
  check_free(vector(32), matrix(5, 9), 32, 1, 0.4);
}

TEST_CASE("block: whole blocks fall, ragged ones at the edges too") {
  check_free(block(8, 8), matrix(32, 24), 8, 8, 0.5);
  check_free(block(16, 16), matrix(37, 45), 16, 16, 0.6);
}

TEST_CASE("vector: tensors share one budget, each keeps its floor") {
  const Matrix weak = [] {
    Matrix m = matrix(8, 20);
    for (float& score : m.scores) score *= 1e-3f;
    return m;
  }();
  const std::vector<Tensor> scores{weak.tensor(), matrix(8, 20, 2).tensor()};
  const auto masks = vector(4)(scores, {.sparsity = 0.5, .min_density = 0.1});
  CHECK(masks[0].kept() == 4 * 4);  // 10 % of 40 vectors
  CHECK(masks[1].kept() == 36 * 4);
}

TEST_CASE("vector_n_of_m: each window of each group keeps its n best vectors") {
  for (const std::int64_t height : {4, 8}) {
    const Matrix m = matrix(19, 38);
    const auto keep = keep_of(vector_n_of_m(int(height), 2, 16), m, {.sparsity = 0.1});
    const auto means = block_means(m, height, 1);
    for (std::int64_t i = 0; i < m.rows * m.columns; ++i) {
      const std::int64_t column = i % m.columns, group = i / m.columns / height * m.columns, first = column / 16 * 16;
      const std::int64_t end = std::min(first + 16, m.columns);
      CHECK(bool(keep[std::size_t(i)]) == (beaten_by(means, group + first, group + end, group + column) < 2));
    }
  }
}

TEST_CASE("v_n_m: four columns of each block stay, and in them the n best weights of each row") {
  const Matrix m = matrix(21, 43);
  const std::int64_t height = 8, width = 10;
  const auto keep = keep_of(v_n_m(int(height), 2, int(width)), m);
  const auto means = block_means(m, height, 1);
  for (std::int64_t row = 0; row < m.rows; ++row) {
    for (std::int64_t first = 0; first < m.columns; first += width) {
      const std::int64_t end = std::min(first + width, m.columns), group = row / height * m.columns;
      std::vector<double> scores;  // of the columns that stay; the others cannot win
      for (std::int64_t c = first; c < end; ++c) {
        const bool stays = beaten_by(means, group + first, group + end, group + c) < 4;
        scores.push_back(stays ? double(m.scores[std::size_t(row * m.columns + c)]) : -1.0);
      }
      for (std::int64_t c = first; c < end; ++c) {
        const bool lives = scores[std::size_t(c - first)] >= 0 && beaten_by(scores, 0, end - first, c - first) < 2;
        CHECK(bool(keep[std::size_t(row * m.columns + c)]) == lives);
      }
    }
  }
}

TEST_CASE("v_n_m: weights pruned before do not bury the column that they stand in") {
  Matrix m = matrix(4, 8);
  for (std::int64_t c = 0; c < 8; ++c) m.scores[std::size_t(c)] = -INFINITY;
  const auto keep = keep_of(v_n_m(4, 2, 8), m);
  CHECK(std::count(keep.begin() + 8, keep.end(), 1) == 3 * 2);
}

TEST_CASE("structured patterns flatten the trailing axes of a convolution's weight") {
  const Tensor scores = Tensor::from({8, 2, 3, 3}, std::span<const float>(test::random_floats(144, 1, 0, 1)));
  const auto masks = vector(8)({&scores, 1}, {.sparsity = 0.5});
  CHECK(masks[0].keep.shape() == scores.shape());
  CHECK(masks[0].kept() == 72);
}

TEST_CASE("block_channels: blocks of filters x channels fall in each tap on its own, as in so many matrices") {
  const std::int64_t filters = 10, channels = 7, taps = 6;
  const Matrix all = matrix(filters, channels * taps);
  const Tensor scores = all.tensor().reshape({filters, channels, 2, 3});
  const auto keep = block_channels(4, 3)({&scores, 1}, {.sparsity = 0.5})[0].keep.to_host_as<std::uint8_t>();
  std::vector<double> means;
  for (std::int64_t tap = 0; tap < taps; ++tap) {
    Matrix one{filters, channels, {}};
    for (std::int64_t i = 0; i < filters * channels; ++i) one.scores.push_back(all.scores[std::size_t(i * taps + tap)]);
    for (const double mean : block_means(one, 4, 3)) means.push_back(mean);
  }
  const std::int64_t of_tap = 3 * 3, blocks = std::int64_t(means.size());
  for (std::int64_t i = 0; i < filters * channels * taps; ++i) {
    const std::int64_t block = i % taps * of_tap + i / taps / channels / 4 * 3 + i / taps % channels / 3;
    CHECK((keep[std::size_t(i)] != 0) == (beaten_by(means, 0, blocks, block) < blocks / 2));
  }
}

TEST_CASE("block_channels: a dense layer's channels are its columns") {
  const Matrix m = matrix(20, 33);
  CHECK(keep_of(block_channels(8, 4), m, {.sparsity = 0.6}) == keep_of(block(8, 4), m, {.sparsity = 0.6}));
}

TEST_CASE("structured patterns refuse impossible shapes") {
  CHECK_THROWS_WITH_AS(block_channels(0, 4), "block_channels: 0 x 4; both must be at least 1", InvalidArgument);
  CHECK_THROWS_AS(vector(0), InvalidArgument);
  CHECK_THROWS_AS(block(0, 4), InvalidArgument);
  CHECK_THROWS_AS(v_n_m(8, 5, 16), InvalidArgument);
  CHECK_THROWS_AS(vector_n_of_m(8, 3, 2), InvalidArgument);
}

}  // namespace
}  // namespace espalier::pruning
