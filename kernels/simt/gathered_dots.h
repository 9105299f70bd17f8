// Dot products of one row with rows that an index list picks, for kernels whose block is one CPU thread.
#pragma once
#include <cstdint>

#include "kernels/simt/vectors.h"

namespace espalier::simt {

// Rows of `planes` pieces, kWidth floats each and `plane` floats apart: row r of a picked operand begins at
// first + r * kStep.
struct PlanedRows {
  const float* first;
  std::int64_t plane;
};

#if defined(ESPALIER_CUDA)

// Named by kernels that are instantiated in the cpu build only.
template <int kWidth, int kStep = kWidth>
void gathered_dots(const PlanedRows& row, const PlanedRows& picked, int planes, const std::int32_t* rows, int count,
                   float* dots);

#else

namespace detail {

// Lane n of the result is the sum of all lanes of sums[n]: each step adds pairs of vectors, half of the lanes of each.
template <int kStep = kLanes / 2>
inline Vector sum_each(Vector (&sums)[kLanes]) {
  constexpr std::make_integer_sequence<int, kLanes> lanes{};
#pragma GCC unroll 16
  for (int n = 0; n < kStep; ++n) {
    sums[n] = __builtin_shuffle(sums[n], sums[n + kStep], exchange<kStep, false>(lanes)) +
              __builtin_shuffle(sums[n], sums[n + kStep], exchange<kStep, true>(lanes));
  }
  if constexpr (kStep > 1) return sum_each<kStep / 2>(sums);
  return sums[0];
}

}  // namespace detail

// dots[n] = row * picked row rows[n] for n < count <= kLanes. One load for each vector multiply-add; the lanes of all
// sums are added up together, three instructions for each of them.
template <int kWidth, int kStep = kWidth>
inline void gathered_dots(const PlanedRows& row, const PlanedRows& picked, int planes, const std::int32_t* rows,
                          int count, float* dots) {
  constexpr int kVectors = kWidth / kLanes;
  const float* from[kLanes];
  for (int n = 0; n < kLanes; ++n) from[n] = picked.first + std::int64_t(rows[n < count ? n : count - 1]) * kStep;
  Vector sums[kLanes] = {};
  for (int plane = 0; plane < planes; ++plane) {
    Vector own[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) own[v] = load_vector(row.first + plane * row.plane + v * kLanes);
#pragma GCC unroll 16
    for (int n = 0; n < kLanes; ++n) {
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) sums[n] += own[v] * load_vector(from[n] + plane * picked.plane + v * kLanes);
    }
  }
  const Vector total = detail::sum_each(sums);
  for (int n = 0; n < count; ++n) dots[n] = total[n];
}

#endif

}  // namespace espalier::simt
