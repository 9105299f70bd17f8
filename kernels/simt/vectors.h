// The CPU's side of a register tile: vectors of the machine's native width, written with g++'s vector extensions,
// because the vectoriser leaves such a product scalar (10 GFLOP/s where these reach 280 on a Zen 5 core) and vectors
// wider than the machine's are emulated through memory. Under nvcc the same functions are plain loops that nobody
// instantiates.
#pragma once
#include <cstdint>
#include <utility>

namespace espalier::simt {

#if defined(__AVX512F__)
constexpr int kLanes = 16, kVectorRegisters = 32;
#elif defined(__AVX__)
constexpr int kLanes = 8, kVectorRegisters = 16;
#else
constexpr int kLanes = 4, kVectorRegisters = 16;
#endif

// Rows and columns of the largest product that stays in registers: rows * 2 accumulators, 2 of B and 1 broadcast of A.
constexpr int kProductRows = kVectorRegisters == 32 ? 8 : 6;
constexpr int kProductColumns = 2 * kLanes;

// What a transposition may do to the lanes after the last row, up to a multiple of kLanes.
enum class Overhang { keep, spoil };

#if !defined(ESPALIER_CUDA)

using Vector [[gnu::vector_size(kLanes * sizeof(float))]] = float;
using LooseVector [[gnu::vector_size(kLanes * sizeof(float)), gnu::aligned(4), gnu::may_alias]] = float;

inline Vector load_vector(const float* from) { return *reinterpret_cast<const LooseVector*>(from); }
inline void store_vector(float* to, Vector value) { *reinterpret_cast<LooseVector*>(to) = value; }

// to [0, count) = from: whole vectors inline, for runs too short for memcpy's preparations.
inline void copy(const float* from, int count, float* to) {
  int i = 0;
  for (; i + kLanes <= count; i += kLanes) store_vector(to + i, load_vector(from + i));
  for (; i < count; ++i) to[i] = from[i];
}

// sum [kRows, kVectors * kLanes] (+)= a [kRows, depth] * b [depth, ...]. The sums enter (unless fresh) and leave
// through memory, in between they live in kRows * kVectors registers: so many multiply-adds for kRows + kVectors loads.
template <int kRows, int kVectors, int kRowStride, int kDepthStride, int kStrideB, int kSumStride>
inline void vector_product(const float* a, const float* b, int depth, bool fresh, float* sum) {
  Vector total[kRows][kVectors] = {};
  if (!fresh) {
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) total[i][v] = load_vector(sum + i * kSumStride + v * kLanes);
    }
  }
  for (int k = 0; k < depth; ++k, a += kDepthStride, b += kStrideB) {
    Vector row[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) row[v] = load_vector(b + v * kLanes);
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) {
      const Vector factor = a[i * kRowStride] - Vector{};
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) total[i][v] += factor * row[v];
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) store_vector(sum + i * kSumStride + v * kLanes, total[i][v]);
  }
}

namespace detail {

using LaneIndices [[gnu::vector_size(kLanes * sizeof(float))]] = int;

// Which lanes of two rows (the second's are numbered on from kLanes) make the row `kHigh` after blocks of kStep lanes
// across the diagonal change places.
template <int kStep, bool kHigh, int... kLane>
inline LaneIndices exchange(std::integer_sequence<int, kLane...>) {
  if constexpr (kHigh) return LaneIndices{((kLane & kStep) ? kLanes + kLane : kLane + kStep)...};
  return LaneIndices{((kLane & kStep) ? kLanes + kLane - kStep : kLane)...};
}

template <int kStep>
inline void exchange_blocks(Vector (&rows)[kLanes]) {
  constexpr std::make_integer_sequence<int, kLanes> lanes{};
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i) {
    if (i & kStep) continue;
    const Vector low = rows[i], high = rows[i + kStep];
    rows[i] = __builtin_shuffle(low, high, exchange<kStep, false>(lanes));
    rows[i + kStep] = __builtin_shuffle(low, high, exchange<kStep, true>(lanes));
  }
  if constexpr (kStep > 1) exchange_blocks<kStep / 2>(rows);
}

template <int kStep, int... kLane>
inline LaneIndices partners(std::integer_sequence<int, kLane...>) {
  return LaneIndices{(kLane ^ kStep)...};
}

template <int kStep = kLanes / 2>
inline float sum_lanes(Vector value) {
  value += __builtin_shuffle(value, partners<kStep>(std::make_integer_sequence<int, kLanes>{}));
  if constexpr (kStep > 1) return sum_lanes<kStep / 2>(value);
  return value[0];
}

}  // namespace detail

// sums [kRows, kColumns] = a [kRows, depth] * b [kColumns, depth]: vectors run along depth, so neither operand is
// transposed; each sum costs a reduction of its lanes at the end.
template <int kRows, int kColumns>
inline void dot_products(const float* const (&a)[kRows], const float* const (&b)[kColumns], std::int64_t depth,
                         float (&sums)[kRows][kColumns]) {
  Vector total[kRows][kColumns] = {};
  std::int64_t k = 0;
  for (; k + kLanes <= depth; k += kLanes) {
    Vector left[kRows];
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) left[i] = load_vector(a[i] + k);
#pragma GCC unroll 16
    for (int j = 0; j < kColumns; ++j) {
      const Vector right = load_vector(b[j] + k);
#pragma GCC unroll 16
      for (int i = 0; i < kRows; ++i) total[i][j] += left[i] * right;
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 16
    for (int j = 0; j < kColumns; ++j) {
      sums[i][j] = detail::sum_lanes(total[i][j]);
      for (std::int64_t rest = k; rest < depth; ++rest) sums[i][j] += a[i][rest] * b[j][rest];
    }
  }
}

// to [columns, rows] = from [rows, columns]: squares of kLanes x kLanes in registers, log2(kLanes) shuffles a row.
template <Overhang kOverhang = Overhang::keep>
inline void transpose(const float* from, std::int64_t from_stride, int rows, int columns, float* to, int to_stride) {
  const int whole_columns = columns / kLanes * kLanes;
  const int whole_rows = kOverhang == Overhang::spoil ? rows : rows / kLanes * kLanes;
  for (int i = 0; i < whole_rows; i += kLanes) {
    for (int j = 0; j < whole_columns; j += kLanes) {
      Vector square[kLanes];
#pragma GCC unroll 16
      for (int r = 0; r < kLanes; ++r) {
        const int row = kOverhang == Overhang::spoil && i + r >= rows ? rows - 1 : i + r;
        square[r] = load_vector(from + row * from_stride + j);
      }
      detail::exchange_blocks<kLanes / 2>(square);
#pragma GCC unroll 16
      for (int r = 0; r < kLanes; ++r) store_vector(to + (j + r) * to_stride + i, square[r]);
    }
  }
  for (int i = 0; i < rows; ++i) {
    for (int j = i < whole_rows ? whole_columns : 0; j < columns; ++j)
      to[j * to_stride + i] = from[i * from_stride + j];
  }
}

#else

template <int kRows, int kVectors, int kRowStride, int kDepthStride, int kStrideB, int kSumStride>
inline void vector_product(const float* a, const float* b, int depth, bool fresh, float* sum) {
  for (int i = 0; fresh && i < kRows; ++i) {
    for (int j = 0; j < kVectors * kLanes; ++j) sum[i * kSumStride + j] = 0.0f;
  }
  for (int k = 0; k < depth; ++k) {
    for (int i = 0; i < kRows; ++i) {
      for (int j = 0; j < kVectors * kLanes; ++j) {
        sum[i * kSumStride + j] += a[i * kRowStride + k * kDepthStride] * b[k * kStrideB + j];
      }
    }
  }
}

inline void copy(const float* from, int count, float* to) {
  for (int i = 0; i < count; ++i) to[i] = from[i];
}

template <int kRows, int kColumns>
inline void dot_products(const float* const (&a)[kRows], const float* const (&b)[kColumns], std::int64_t depth,
                         float (&sums)[kRows][kColumns]) {
  for (int i = 0; i < kRows; ++i) {
    for (int j = 0; j < kColumns; ++j) {
      sums[i][j] = 0.0f;
      for (std::int64_t k = 0; k < depth; ++k) sums[i][j] += a[i][k] * b[j][k];
    }
  }
}

template <Overhang = Overhang::keep>
inline void transpose(const float* from, std::int64_t from_stride, int rows, int columns, float* to, int to_stride) {
  for (int i = 0; i < rows; ++i) {
    for (int j = 0; j < columns; ++j) to[j * to_stride + i] = from[i * from_stride + j];
  }
}

#endif

// sum [rows, columns] (+)= a [rows, depth] * b [depth, columns] for up to kProductRows x kProductColumns; the last
// vector of a row is computed whole. Element (i, k) of a lies at i * kRowStride + k * kDepthStride, rows of b and of
// the sums are kStrideB and kSumStride apart.
template <int kRowStride, int kDepthStride, int kStrideB, int kSumStride>
struct VectorProduct {
  template <int kRows = kProductRows>
  static void add(int rows, int columns, const float* a, const float* b, int depth, bool fresh, float* sum) {
    if constexpr (kRows > 1) {
      if (rows < kRows) return add<kRows - 1>(rows, columns, a, b, depth, fresh, sum);
    }
    if (columns > kLanes) {
      vector_product<kRows, 2, kRowStride, kDepthStride, kStrideB, kSumStride>(a, b, depth, fresh, sum);
    } else {
      vector_product<kRows, 1, kRowStride, kDepthStride, kStrideB, kSumStride>(a, b, depth, fresh, sum);
    }
  }
};

}  // namespace espalier::simt
