// The kept places of a mask in guarded device memory, made by the kernels under test.
#pragma once
#include "kernels/sparse/kept.h"
#include "tests/support/sparse_problems.h"

namespace espalier::test {

// 1 where the weight is not zero.
inline std::vector<std::uint8_t> keep_of(const std::vector<float>& weight) {
  std::vector<std::uint8_t> keep;
  for (const float value : weight) keep.push_back(value != 0.0f);
  return keep;
}

struct KeptBuffers {
  KeptBuffers(std::int64_t rows, std::int64_t columns, const std::vector<std::uint8_t>& mask)
      : shape{rows, columns},
        row_offsets(std::size_t(rows) + 1),
        column_indices(0),
        places(0),
        column_offsets(std::size_t(columns) + 1),
        row_indices(0),
        transposed(0) {
    const GuardedBuffer<std::uint8_t> keep(mask);
    kernels::kept_count(shape, keep.data(), row_offsets.data(), nullptr);
    const auto kept = std::size_t(row_offsets.download().back());
    for (auto* array : {&column_indices, &places, &row_indices, &transposed})
      *array = GuardedBuffer<std::int32_t>(kept);
    kernels::kept_fill(
        shape, keep.data(), row_offsets.data(),
        {column_indices.data(), places.data(), column_offsets.data(), row_indices.data(), transposed.data()}, nullptr);
  }
  kernels::KeptView view() const {
    return {
        shape.rows,    shape.columns,         std::int64_t(places.size()), row_offsets.data(), column_indices.data(),
        places.data(), column_offsets.data(), row_indices.data(),          transposed.data()};
  }
  bool guards_intact() const {
    for (const auto* array : {&row_offsets, &column_indices, &places, &column_offsets, &row_indices, &transposed}) {
      if (!array->guards_intact()) return false;
    }
    return true;
  }
  kernels::WeightShape shape;
  GuardedBuffer<std::int32_t> row_offsets, column_indices, places, column_offsets, row_indices, transposed;
};

}  // namespace espalier::test
