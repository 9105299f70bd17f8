// Products and copies of panels for kernels whose block is one CPU thread. A panel is a row-major cache block, its row
// pitch in floats chosen by the caller; panel_product() keeps 12 x 2 vectors of sums in registers (6 x 2 where there
// are 16), which reaches 285 of the 360 GFLOP/s of a Zen 5 core at every depth from 25 to 1,250.
#pragma once
#include <algorithm>
#include <cstdint>
#include <utility>

#include "kernels/simt/vectors.h"

namespace espalier::simt {

// c [rows, columns] (+)= a [rows, depth] * b [depth, columns]. Element (i, k) of a lies at i * a_row + k * a_depth.
// The rows of b and c must be readable, those of c writable, up to the next multiple of kLanes columns.
struct PanelProduct {
  int rows = 0, columns = 0, depth = 0;
  const float* a = nullptr;
  std::int64_t a_row = 0, a_depth = 0;
  const float* b = nullptr;
  std::int64_t b_pitch = 0;
  float* c = nullptr;
  std::int64_t c_pitch = 0;
  bool accumulate = false;  // add to c instead of overwriting it
};

// Runs of `width` floats, `rows` of them in each of `planes`; the pitches are floats from one to the next.
struct Runs {
  int planes = 1, rows = 0, width = 0;
  std::int64_t from_pitch = 0, to_pitch = 0, from_plane = 0, to_plane = 0;
};

constexpr int kPanelRows = kVectorRegisters == 32 ? 12 : 6;  // rows * 2 sums, 2 of b, 1 of a: 27 of 32 registers

constexpr int whole_lanes(int columns) { return (columns + kLanes - 1) / kLanes * kLanes; }

#if defined(ESPALIER_CUDA)

// Named by kernels that are instantiated in the cpu build only.
void panel_product(const PanelProduct& product);
float dot(const float* a, const float* b, int count);
void copy_runs(const Runs& runs, const float* from, float* to);
void add_runs(const Runs& runs, const float* from, float* to);

#else

namespace detail {

template <int kRows, int kVectors>
inline void register_product(const PanelProduct& p, int row, int column) {
  const float *a = p.a + row * p.a_row, *b = p.b + column;
  float* c = p.c + row * p.c_pitch + column;
  Vector sum[kRows][kVectors];
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v)
      sum[i][v] = p.accumulate ? load_vector(c + i * p.c_pitch + v * kLanes) : Vector{};
  }
  for (int k = 0; k < p.depth; ++k, a += p.a_depth, b += p.b_pitch) {
    Vector right[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) right[v] = load_vector(b + v * kLanes);
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) {
      const Vector left = a[i * p.a_row] - Vector{};
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) sum[i][v] += left * right[v];
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) store_vector(c + i * p.c_pitch + v * kLanes, sum[i][v]);
  }
}

using RegisterProduct = void (*)(const PanelProduct&, int row, int column);

template <int kVectors, int... kRows>
constexpr RegisterProduct register_product_of(int rows, std::integer_sequence<int, kRows...>) {
  constexpr RegisterProduct of_rows[] = {register_product<kRows + 1, kVectors>...};
  return of_rows[rows - 1];
}

template <int kWidth>
using Piece [[gnu::vector_size(kWidth * sizeof(float)), gnu::aligned(4), gnu::may_alias]] = float;

// The last kTail < kLanes floats of a run of which `done` came before.
struct Copy {
  template <int kWidth>
  static void piece(const float* from, float* to) {
    *reinterpret_cast<Piece<kWidth>*>(to) = *reinterpret_cast<const Piece<kWidth>*>(from);
  }
  template <int kTail, bool kLong>
  static void tail(const float* from, float* to) {  // in two pieces, which may overlap
    constexpr int kPiece = kLong ? kLanes : kTail >= 8 ? 8 : kTail >= 4 ? 4 : kTail >= 2 ? 2 : 1;
    if constexpr (kTail > kPiece) piece<kPiece>(from, to);
    if constexpr (kTail > 0) piece<kPiece>(from + (kTail - kPiece), to + (kTail - kPiece));
  }
};
struct Add {
  template <int kWidth>
  static void piece(const float* from, float* to) {
    *reinterpret_cast<Piece<kWidth>*>(to) += *reinterpret_cast<const Piece<kWidth>*>(from);
  }
  template <int kTail, bool kLong>
  static void tail(const float* from, float* to) {  // in pieces that must not overlap
    constexpr int kPiece = kTail >= 8 ? 8 : kTail >= 4 ? 4 : kTail >= 2 ? 2 : 1;
    if constexpr (kTail > 0) {
      piece<kPiece>(from, to);
      tail<kTail - kPiece, kLong>(from + kPiece, to + kPiece);
    }
  }
};

// `runs` by value: vector stores may alias anything, and its members would be read again after each of them.
template <class Move, int kTail, bool kLong>
void move_runs(const Runs runs, const float* from_plane, float* to_plane) {
  const int vectors = runs.width / kLanes;
  for (int plane = 0; plane < runs.planes; ++plane, from_plane += runs.from_plane, to_plane += runs.to_plane) {
    const float* from = from_plane;
    float* to = to_plane;
    for (int row = 0; row < runs.rows; ++row, from += runs.from_pitch, to += runs.to_pitch) {
      if constexpr (kLong) {
        for (int v = 0; v < vectors; ++v) Move::template piece<kLanes>(from + v * kLanes, to + v * kLanes);
      }
      const int done = kLong ? vectors * kLanes : 0;
      Move::template tail<kTail, kLong>(from + done, to + done);
    }
  }
}

// The width's remainder is a constant inside the loop over rows: a tail of any length costs four times the copy itself.
template <class Move, int... kTail>
inline void move_runs_of_tail(std::integer_sequence<int, kTail...>, const Runs& runs, const float* from, float* to) {
  using Mover = void (*)(Runs, const float*, float*);
  static constexpr Mover short_runs[] = {move_runs<Move, kTail, false>...};
  static constexpr Mover long_runs[] = {move_runs<Move, kTail, true>...};
  (runs.width < kLanes ? short_runs : long_runs)[runs.width % kLanes](runs, from, to);
}

}  // namespace detail

// The order of tiles: along the rows of c where a panel of b, kTileColumns wide, is what should stay in the first-level
// cache; along its columns where all of b is small enough to stay there, and each part of a then is read once.
inline void panel_product(const PanelProduct& p) {
  constexpr auto rows_of_a_tile = std::make_integer_sequence<int, kPanelRows>{};
  constexpr int kTileColumns = 2 * kLanes;
  constexpr std::int64_t kFirstLevelFloats = 6 * 1024;       // half of 48 KiB
  const int tiles = (p.rows + kPanelRows - 1) / kPanelRows;  // of equal height, give or take a row: none is a remainder
  const auto multiply = [&](int row, int rows, int column) {
    const auto product = p.columns - column > kLanes ? detail::register_product_of<2>(rows, rows_of_a_tile)
                                                     : detail::register_product_of<1>(rows, rows_of_a_tile);
    product(p, row, column);
  };
  const auto for_each_row_tile = [&](const auto& visit) {
    for (int tile = 0, row = 0; tile < tiles; ++tile) {
      const int rows = p.rows / tiles + (tile < p.rows % tiles ? 1 : 0);
      visit(row, rows);
      row += rows;
    }
  };
  if (p.depth * p.b_pitch <= kFirstLevelFloats) {
    for_each_row_tile([&](int row, int rows) {
      for (int column = 0; column < p.columns; column += kTileColumns) multiply(row, rows, column);
    });
  } else {
    for (int column = 0; column < p.columns; column += kTileColumns) {
      for_each_row_tile([&](int row, int rows) { multiply(row, rows, column); });
    }
  }
}

// The sum of a[i] * b[i], in four vectors' worth of running sums.
inline float dot(const float* a, const float* b, int count) {
  constexpr int kStep = 4 * kLanes;
  Vector sum[4] = {};
  int i = 0;
  for (; i + kStep <= count; i += kStep) {
#pragma GCC unroll 4
    for (int v = 0; v < 4; ++v) sum[v] += load_vector(a + i + v * kLanes) * load_vector(b + i + v * kLanes);
  }
  for (; i + kLanes <= count; i += kLanes) sum[0] += load_vector(a + i) * load_vector(b + i);
  const Vector lanes = (sum[0] + sum[1]) + (sum[2] + sum[3]);
  float total = 0.0f;
  for (int lane = 0; lane < kLanes; ++lane) total += lanes[lane];
  for (; i < count; ++i) total += a[i] * b[i];
  return total;
}

inline void copy_runs(const Runs& runs, const float* from, float* to) {
  detail::move_runs_of_tail<detail::Copy>(std::make_integer_sequence<int, kLanes>{}, runs, from, to);
}

// to += from
inline void add_runs(const Runs& runs, const float* from, float* to) {
  detail::move_runs_of_tail<detail::Add>(std::make_integer_sequence<int, kLanes>{}, runs, from, to);
}

#endif

}  // namespace espalier::simt
