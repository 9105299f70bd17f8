// Loaders of gemm_tile.h for plain matrices: an operand whose m or n axis is contiguous in memory ("wide": B as it is,
// A transposed) or whose k axis is ("deep": A as it is, B transposed). On a GPU kVector = 4 reads 128 bits a time and
// needs 16-byte aligned rows; 1 reads anything, neighbouring lanes still neighbouring floats.
#pragma once
#include "kernels/gemm_tile.h"

namespace espalier::kernels {

enum class Side { a, b };

template <class Tile, Side kSide>
inline constexpr int kTileWidth = kSide == Side::a ? Tile::kM : Tile::kN;

// An operand: `width` rows (A) or columns (B) of k elements; `leading` floats between rows as they lie in memory.
struct MatrixView {
  const float* data = nullptr;
  index_t leading = 0, width = 0, batch_stride = 0;
};

namespace detail {

template <int kVector>
__device__ inline void load_floats(const float* __restrict__ from, float* to) {
  if constexpr (kVector == 4) {
    const float4 four = *reinterpret_cast<const float4*>(from);
    to[0] = four.x, to[1] = four.y, to[2] = four.z, to[3] = four.w;
  } else {
    to[0] = *from;
  }
}

__device__ inline index_t clamp_index(index_t i, index_t last) { return i < last ? i : last; }

// memory [k, width] -> registers -> shared [k, width]
template <class Tile, Side kSide, int kVector>
class StagedWideLoader {
  static constexpr int kWidth = kTileWidth<Tile, kSide>;
  static constexpr int kLanes = kWidth / kVector, kRowsAtOnce = Tile::kThreads / kLanes;
  static constexpr int kPasses = Tile::kK / kRowsAtOnce;
  static_assert(Tile::kThreads % kLanes == 0 && Tile::kK % kRowsAtOnce == 0,
                "the threads cover whole rows of the tile");

 public:
  using Parameters = MatrixView;
  static constexpr Strides kStrides = kDepthMajor<Tile, kWidth>;

  __device__ StagedWideLoader(const MatrixView& view, index_t first, index_t batch)
      : k_(int(threadIdx.x) / kLanes), lane_(int(threadIdx.x) % kLanes * kVector), pass_(kRowsAtOnce * view.leading) {
    from_ =
        view.data + batch * view.batch_stride + clamp_index(first + lane_, view.width - kVector) + k_ * view.leading;
  }

  __device__ void start(index_t k) { from_ += k / kRowsAtOnce * pass_; }

  template <class Depth>
  __device__ void fetch(index_t, Depth depth) {
#pragma unroll
    for (int pass = 0; pass < kPasses; ++pass, from_ += pass_) {
      if (inside(k_ + pass * kRowsAtOnce, depth)) load_floats<kVector>(from_, stage_ + pass * kVector);
    }
  }

  template <class Depth>
  __device__ void commit(float* tile, Depth) {
#pragma unroll
    for (int pass = 0; pass < kPasses; ++pass) {
      float* to = tile + (k_ + pass * kRowsAtOnce) * kStrides.depth + lane_;
      const float* from = stage_ + pass * kVector;
      if constexpr (kVector == 4) {
        *reinterpret_cast<float4*>(to) = make_float4(from[0], from[1], from[2], from[3]);
      } else {
        *to = *from;
      }
    }
  }

 private:
  int k_, lane_;
  index_t pass_;  // from one pass to the next, in floats
  const float* from_;
  float stage_[kPasses * kVector] = {};
};

// memory [width, k] -> registers -> shared [k, width]. Lanes take 32 bytes of a row (a whole sector), then the next
// row: with rows of the shared tile padded by 4 the transposing stores of a warp hit 32 different banks.
template <class Tile, Side kSide, int kVector>
class StagedDeepLoader {
  static constexpr int kWidth = kTileWidth<Tile, kSide>;
  static constexpr int kLanes = 8 / kVector, kRowsAtOnce = Tile::kThreads / kLanes;
  static constexpr int kRowPasses = kRowsAtOnce < kWidth ? kWidth / kRowsAtOnce : 1, kDepthPasses = Tile::kK / 8;
  static_assert(Tile::kK % 8 == 0 && (kWidth % kRowsAtOnce == 0 || kRowsAtOnce % kWidth == 0), "sectors of 8 floats");
  static_assert(kRowsAtOnce <= kWidth, "no more threads than sectors");

 public:
  using Parameters = MatrixView;
  static constexpr Strides kStrides = kDepthMajor<Tile, kWidth>;

  __device__ StagedDeepLoader(const MatrixView& view, index_t first, index_t batch)
      : k_(int(threadIdx.x) % kLanes * kVector), row_(int(threadIdx.x) / kLanes) {
    const float* data = view.data + batch * view.batch_stride + k_;
#pragma unroll
    for (int pass = 0; pass < kRowPasses; ++pass) {
      from_[pass] = data + clamp_index(first + row_ + pass * kRowsAtOnce, view.width - 1) * view.leading;
    }
  }

  __device__ void start(index_t k) {
#pragma unroll
    for (int pass = 0; pass < kRowPasses; ++pass) from_[pass] += k;
  }

  template <class Depth>
  __device__ void fetch(index_t, Depth depth) {
#pragma unroll
    for (int pass = 0; pass < kRowPasses; from_[pass] += Tile::kK, ++pass) {
#pragma unroll
      for (int step = 0; step < kDepthPasses; ++step) {
        if (inside(k_ + step * 8, depth)) load_floats<kVector>(from_[pass] + step * 8, stage_[pass][step]);
      }
    }
  }

  template <class Depth>
  __device__ void commit(float* tile, Depth) {
#pragma unroll
    for (int pass = 0; pass < kRowPasses; ++pass) {
#pragma unroll
      for (int step = 0; step < kDepthPasses; ++step) {
        float* to = tile + (k_ + step * 8) * kStrides.depth + row_ + pass * kRowsAtOnce;
#pragma unroll
        for (int i = 0; i < kVector; ++i) to[i * kStrides.depth] = stage_[pass][step][i];
      }
    }
  }

 private:
  int k_, row_;
  const float* from_[kRowPasses];
  float stage_[kRowPasses][kDepthPasses][kVector] = {};
};

// memory [k, width] -> shared [k, width], one thread
template <class Tile, Side kSide>
class DirectWideLoader {
  static constexpr int kWidth = kTileWidth<Tile, kSide>;

 public:
  using Parameters = MatrixView;
  static constexpr Strides kStrides = kDepthMajor<Tile, kWidth>;

  DirectWideLoader(const MatrixView& view, index_t first, index_t batch)
      : from_(view.data + batch * view.batch_stride + first),
        leading_(view.leading),
        count_(int(std::min<index_t>(kWidth, view.width - first))) {}
  template <class Depth>
  void fetch(index_t k, Depth) {
    k_ = k;
  }
  template <class Depth>
  void commit(float* tile, Depth depth) {
    const float* from = from_ + k_ * leading_;
    for (int k = 0; k < depth; ++k, from += leading_, tile += kStrides.depth) {
      if (count_ == kWidth) {
        simt::copy(from, kWidth, tile);
      } else {
        simt::copy(from, count_, tile);
      }
    }
  }

 private:
  const float* from_;
  index_t leading_, k_ = 0;
  int count_;
};

// memory [width, k] -> shared, one thread: A stays [width, k], B is transposed to [k, width].
template <class Tile, Side kSide>
class DirectDeepLoader {
  static constexpr int kWidth = kTileWidth<Tile, kSide>;
  static_assert(kWidth % simt::kLanes == 0, "the transposition writes whole vectors");

 public:
  using Parameters = MatrixView;
  static constexpr Strides kStrides = kSide == Side::a ? kWidthMajor<Tile> : kDepthMajor<Tile, kWidth>;

  DirectDeepLoader(const MatrixView& view, index_t first, index_t batch)
      : from_(view.data + batch * view.batch_stride + first * view.leading),
        leading_(view.leading),
        count_(int(std::min<index_t>(kWidth, view.width - first))) {}
  template <class Depth>
  void fetch(index_t k, Depth) {
    k_ = k;
  }
  template <class Depth>
  void commit(float* tile, Depth depth) {
    const float* from = from_ + k_;
    if constexpr (kSide == Side::a) {
      for (int i = 0; i < count_; ++i) simt::copy(from + i * leading_, depth, tile + i * kStrides.width);
    } else {
      simt::transpose<simt::Overhang::spoil>(from, leading_, count_, depth, tile, kStrides.depth);
    }
  }

 private:
  const float* from_;
  index_t leading_, k_ = 0;
  int count_;
};

}  // namespace detail

template <class Tile, Side kSide, int kVector>
using WideLoader = std::conditional_t<Tile::kThreads == 1, detail::DirectWideLoader<Tile, kSide>,
                                      detail::StagedWideLoader<Tile, kSide, kVector>>;
template <class Tile, Side kSide, int kVector>
using DeepLoader = std::conditional_t<Tile::kThreads == 1, detail::DirectDeepLoader<Tile, kSide>,
                                      detail::StagedDeepLoader<Tile, kSide, kVector>>;

}  // namespace espalier::kernels
