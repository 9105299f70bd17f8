// Loaders of gemm_tile.h for 16-bit operands on the CPU, whose vectors multiply floats: a tile of the operand is
// widened on its way into the cache, 0.05 ns an element, beside 1 / kM + 1 / kN of which a multiply-add costs 0.007 ns.
#pragma once
#include "kernels/gemm_loaders.h"
#include "kernels/narrow_view.h"

namespace espalier::kernels {

namespace detail {

template <class T>
void widen(const T* __restrict__ from, int count, float* __restrict__ to) {
  for (int i = 0; i < count; ++i) to[i] = to_float(from[i]);
}

}  // namespace detail

// memory [k, width] -> cache [k, width]
template <class Tile, Side kSide, class T>
class WideningWideLoader {
  static constexpr int kWidth = kTileWidth<Tile, kSide>;

 public:
  using Parameters = NarrowView<T>;
  static constexpr Strides kStrides = kDepthMajor<Tile, kWidth>;

  WideningWideLoader(const Parameters& view, index_t first, index_t)
      : from_(view.data + first), leading_(view.leading), count_(int(std::min<index_t>(kWidth, view.width - first))) {}
  template <class Depth>
  void fetch(index_t k, Depth) {
    k_ = k;
  }
  template <class Depth>
  void commit(float* tile, Depth depth) {
    const T* from = from_ + k_ * leading_;
    for (int k = 0; k < depth; ++k, from += leading_, tile += kStrides.depth) detail::widen(from, count_, tile);
  }

 private:
  const T* from_;
  index_t leading_, k_ = 0;
  int count_;
};

// memory [width, k] -> cache: A stays [width, k], B is transposed to [k, width], a vector's worth of rows at a time.
template <class Tile, Side kSide, class T>
class WideningDeepLoader {
  static constexpr int kWidth = kTileWidth<Tile, kSide>;
  static_assert(kWidth % simt::kLanes == 0, "the transposition writes whole vectors");

 public:
  using Parameters = NarrowView<T>;
  static constexpr Strides kStrides = kSide == Side::a ? kWidthMajor<Tile> : kDepthMajor<Tile, kWidth>;

  WideningDeepLoader(const Parameters& view, index_t first, index_t)
      : from_(view.data + first * view.leading),
        leading_(view.leading),
        count_(int(std::min<index_t>(kWidth, view.width - first))) {}
  template <class Depth>
  void fetch(index_t k, Depth) {
    k_ = k;
  }
  template <class Depth>
  void commit(float* tile, Depth depth) {
    if constexpr (kSide == Side::a) {
      for (int i = 0; i < count_; ++i) {
        detail::widen(from_ + i * leading_ + k_, depth, tile + i * kStrides.width);
      }
    } else {
      float rows[simt::kLanes * Tile::kK];
      for (int i = 0; i < count_; i += simt::kLanes) {
        const int some = std::min(simt::kLanes, count_ - i);
        for (int r = 0; r < some; ++r) detail::widen(from_ + (i + r) * leading_ + k_, depth, rows + r * Tile::kK);
        simt::transpose<simt::Overhang::spoil>(rows, Tile::kK, some, depth, tile + i, kStrides.depth);
      }
    }
  }

 private:
  const T* from_;
  index_t leading_, k_ = 0;
  int count_;
};

}  // namespace espalier::kernels
