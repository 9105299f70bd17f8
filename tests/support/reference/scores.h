// Pruning scores by plain loops in double.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <vector>

#include "kernels/tiles.h"

namespace espalier::test {

// The elements of each tile, in order.
inline std::vector<std::vector<std::size_t>> tile_members(const kernels::TiledMatrix& shape) {
  std::vector<std::vector<std::size_t>> members(std::size_t(shape.tiles()));
  for (std::int64_t row = 0; row < shape.rows; ++row) {
    for (std::int64_t column = 0; column < shape.columns; ++column) {
      const std::int64_t tile = row / shape.tile_rows * shape.tiles_across() + column / shape.tile_columns;
      members[std::size_t(tile)].push_back(std::size_t(row * shape.columns + column));
    }
  }
  return members;
}

inline std::vector<double> reduce_tiles_reference(const kernels::TiledMatrix& shape, kernels::TileReduction reduction,
                                                  const std::vector<float>& x) {
  std::vector<double> result;
  for (const auto& members : tile_members(shape)) {
    double sum = 0, squares = 0;
    std::size_t living = 0;
    for (const std::size_t i : members) {
      squares += double(x[i]) * double(x[i]);
      if (std::isinf(x[i])) continue;
      sum += double(x[i]);
      ++living;
    }
    if (reduction == kernels::TileReduction::norm) {
      result.push_back(std::sqrt(squares));
    } else if (living == 0) {
      result.push_back(-std::numeric_limits<double>::infinity());
    } else {
      result.push_back(reduction == kernels::TileReduction::mean ? sum / double(members.size()) : sum);
    }
  }
  return result;
}

inline std::vector<double> filter_distances_reference(std::size_t rows, std::size_t columns, bool angular,
                                                      const std::vector<float>& w) {
  std::vector<double> sums(rows, 0.0);
  for (std::size_t i = 0; i < rows; ++i) {
    for (std::size_t j = 0; j < rows; ++j) {
      double squares = 0, dot = 0, own = 0, other = 0;
      for (std::size_t k = 0; k < columns; ++k) {
        const double a = w[i * columns + k], b = w[j * columns + k];
        squares += (a - b) * (a - b);
        dot += a * b;
        own += a * a;
        other += b * b;
      }
      if (!angular) {
        sums[i] += std::sqrt(squares);
      } else if (i != j && own > 0) {
        sums[i] += other > 0 ? 1 - std::abs(dot) / std::sqrt(own * other) : 1;
      }
    }
  }
  return sums;
}

inline std::vector<double> lamp_reference(const std::vector<float>& score) {
  std::vector<double> result;
  for (const float mine : score) {
    double sum = 0;
    for (const float other : score) sum += other >= mine ? double(other) * double(other) : 0.0;
    result.push_back(mine > 0 ? double(mine) * double(mine) / sum : 0.0);
  }
  return result;
}

// w^2 / (2 [F^-1]_ii) with F = damping I + mean of g g^T in runs of `run` weights, inverted by Gauss and Jordan.
inline std::vector<double> obs_reference(const std::vector<float>& weight,
                                         const std::vector<std::vector<float>>& gradients, double damping,
                                         std::size_t run) {
  std::vector<double> scores;
  for (std::size_t first = 0; first < weight.size(); first += run) {
    const std::size_t n = std::min(run, weight.size() - first);
    std::vector<std::vector<double>> a(n, std::vector<double>(2 * n, 0.0));
    for (std::size_t i = 0; i < n; ++i) {
      a[i][i] = damping;
      a[i][n + i] = 1;
      for (std::size_t j = 0; j < n; ++j) {
        for (const auto& g : gradients)
          a[i][j] += double(g[first + i]) * double(g[first + j]) / double(gradients.size());
      }
    }
    for (std::size_t p = 0; p < n; ++p) {  // positive definite: no pivoting
      const double pivot = a[p][p];
      for (double& value : a[p]) value /= pivot;
      for (std::size_t i = 0; i < n; ++i) {
        if (i == p) continue;
        const double factor = a[i][p];
        for (std::size_t j = 0; j < 2 * n; ++j) a[i][j] -= factor * a[p][j];
      }
    }
    for (std::size_t i = 0; i < n; ++i) {
      scores.push_back(double(weight[first + i]) * double(weight[first + i]) / (2 * a[i][n + i]));
    }
  }
  return scores;
}

}  // namespace espalier::test
