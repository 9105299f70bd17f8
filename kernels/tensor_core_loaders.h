// Loaders of tensor_core_product.h for plain matrices. A step's first k and the rows' beginnings are multiples of 16
// bytes for ChunkLoader; the other two read anything.
#pragma once
#include <cstring>

#include "kernels/narrow_view.h"
#include "kernels/tensor_core_product.h"

namespace espalier::kernels {

// Who copies which chunks of a tile: neighbouring threads neighbouring chunks of a row, kPasses times the next rows.
template <class Tile, Side kSide, class T, Along kAlong>
struct ChunkMap {
  using Shared = OperandTile<T, kTileWidth<Tile, kSide>, kAlong>;
  static constexpr int kRowsAtOnce = Tile::kThreads / Shared::kRowChunks, kPasses = Shared::kRows / kRowsAtOnce;
  static_assert(Tile::kThreads % Shared::kRowChunks == 0 && Shared::kRows % kRowsAtOnce == 0,
                "the threads cover whole rows of the tile");
  static_assert((kRowsAtOnce & (kRowsAtOnce - 1)) == 0, "a pass changes other bits of a row's number than the row");

  __device__ static int row() { return int(threadIdx.x) / Shared::kRowChunks; }
  __device__ static int chunk() { return int(threadIdx.x) % Shared::kRowChunks; }
  // Rows are powers of two apart, so that a pass changes other bits of the swizzle than the row of its first.
  __device__ static int offset(int pass) {
    const int swizzle = Shared::swizzle(pass * kRowsAtOnce) * kChunkBytes;
    return (Shared::offset(row(), chunk()) ^ swizzle) + pass * kRowsAtOnce * Shared::kPitch;
  }
};

// Aligned rows, 16 bytes a time: past the registers, or (kStaged_) through them.
template <class Tile, Side kSide, class T, Along kAlong_, bool kStaged_>
class ChunkLoader {
  using Map = ChunkMap<Tile, kSide, T, kAlong_>;
  static constexpr bool kDeep = kAlong_ == Along::depth;

 public:
  using Element = T;
  using Parameters = NarrowView<T>;
  static constexpr Along kAlong = kAlong_;
  static constexpr bool kStaged = kStaged_;

  __device__ ChunkLoader(const Parameters& view, index_t first, const BlockRange& range)
      : from_(view.data + range.batch * view.batch_stride),
        pitch_(int(view.leading * index_t(sizeof(T)))),
        step_(kDeep ? 1 : view.leading) {
    const index_t chunk = Map::chunk() * kChunk<T>;
    from_ += range.k_begin * step_ + (kDeep ? chunk : detail::clamp_index(first + chunk, view.width - kChunk<T>));
    from_ -= kStepDepth<T> * step_;
#pragma unroll
    for (int pass = 0; pass < Map::kPasses; ++pass) {
      const int row = Map::row() + pass * Map::kRowsAtOnce;
      line_[pass] = kDeep ? int(detail::clamp_index(first + row, view.width - 1)) : row;
    }
  }

  __device__ void fetch_first(char* tile, int depth) {
    from_ += kStepDepth<T> * step_;
#pragma unroll
    for (int pass = 0; pass < Map::kPasses; ++pass) {
      const int k = kDeep ? Map::chunk() * kChunk<T> : Map::row() + pass * Map::kRowsAtOnce;
      if constexpr (kStaged) {
        stage_[pass] = make_uint4(0, 0, 0, 0);
        if (k < depth) stage_[pass] = *reinterpret_cast<const uint4*>(line(pass));
      } else {
        simt::async_copy<kChunkBytes>(tile + Map::offset(pass), line(pass), k < depth ? kChunkBytes : 0);
      }
    }
    from_ -= (kStepDepth<T> - depth) * step_;
  }
  template <Place>
  __device__ void fetch(char* tile) {
    from_ += kStepDepth<T> * step_;
#pragma unroll
    for (int pass = 0; pass < Map::kPasses; ++pass) {
      if constexpr (kStaged) {
        stage_[pass] = *reinterpret_cast<const uint4*>(line(pass));
      } else {
        simt::async_copy<kChunkBytes>(tile + Map::offset(pass), line(pass));
      }
    }
  }
  __device__ void commit(char* tile) {
    if constexpr (kStaged) {
#pragma unroll
      for (int pass = 0; pass < Map::kPasses; ++pass) {
        *reinterpret_cast<uint4*>(tile + Map::offset(pass)) = stage_[pass];
      }
    }
  }

 private:
  __device__ const T* line(int pass) const { return simt::step_from(from_, line_[pass], pitch_); }

  const T* from_;  // of line 0, a step back: to advance first spares the copies' registers a move
  int pitch_;      // bytes from line to line
  index_t step_;   // elements from one k to the next
  int line_[Map::kPasses];
  uint4 stage_[kStaged ? Map::kPasses : 1];
};

// tf32 from memory [k, width] to a tile [width, k], which ldmatrix cannot turn: copies of 4 bytes can. A warp copies 8
// rows by 4 of k at a time: whole sectors of memory to 32 different banks, since that is a matrix of ldmatrix.
template <class Tile, Side kSide>
class TurningLoader {
  using Shared = OperandTile<float, kTileWidth<Tile, kSide>, Along::depth>;
  static constexpr int kPasses = kTileWidth<Tile, kSide> / 8;
  static_assert(Tile::kThreads == 32 * Shared::kRowChunks, "a warp for each chunk of k");

 public:
  using Element = float;
  using Parameters = NarrowView<float>;
  static constexpr Along kAlong = Along::depth;
  static constexpr bool kStaged = false;

  __device__ TurningLoader(const Parameters& view, index_t first, const BlockRange& range)
      : from_(view.data + range.batch * view.batch_stride + (range.k_begin + k()) * view.leading + first + row()),
        leading_(view.leading),
        inside_(0) {
#pragma unroll
    for (int pass = 0; pass < kPasses; ++pass) inside_ |= first + row() + pass * 8 < view.width ? 1u << pass : 0u;
  }

  __device__ static Place place(const Parameters& view, index_t first) {
    return first + kTileWidth<Tile, kSide> <= view.width ? Place::interior : Place::edge;
  }

  __device__ void fetch_first(char* tile, int depth) {
    copy<Place::edge>(tile, k() < depth ? int(sizeof(float)) : 0);
    from_ += depth * leading_;
  }
  template <Place kPlace>
  __device__ void fetch(char* tile) {
    copy<kPlace>(tile, int(sizeof(float)));
    from_ += kStepDepth<float> * leading_;
  }
  __device__ void commit(char*) {}

 private:
  __device__ static int row() { return int(threadIdx.x) % 8; }
  __device__ static int k() { return int(threadIdx.x) / 8; }
  template <Place kPlace>
  __device__ void copy(char* tile, int bytes) const {
    tile += Shared::offset(row(), k() / kChunk<float>) + k() % kChunk<float> * int(sizeof(float));
#pragma unroll
    for (int pass = 0; pass < kPasses; ++pass) {  // rows outside may keep what they had: their sums are dropped
      if (kPlace == Place::interior) {
        simt::async_copy<4>(tile + pass * 8 * Shared::kPitch, from_ + pass * 8);
      } else if (inside_ >> pass & 1u) {
        simt::async_copy<4>(tile + pass * 8 * Shared::kPitch, from_ + pass * 8, bytes);
      }
    }
  }

  const float* from_;
  index_t leading_;
  unsigned inside_;  // a bit for each pass
};

// Any alignment, either axis along memory, one element at a time.
template <class T>
struct ElementView {
  const T* data = nullptr;
  index_t width = 0, width_stride = 1, depth_stride = 1;  // elements from one to the next
};

template <class Tile, Side kSide, class T>
class ElementLoader {
  using Map = ChunkMap<Tile, kSide, T, Along::depth>;

 public:
  using Element = T;
  using Parameters = ElementView<T>;
  static constexpr Along kAlong = Along::depth;
  static constexpr bool kStaged = true;

  __device__ ElementLoader(const Parameters& view, index_t first, const BlockRange& range) : step_(view.depth_stride) {
#pragma unroll
    for (int pass = 0; pass < Map::kPasses; ++pass) {
      const index_t row = detail::clamp_index(first + Map::row() + pass * Map::kRowsAtOnce, view.width - 1);
      from_[pass] = view.data + row * view.width_stride + (range.k_begin + Map::chunk() * kChunk<T>)*step_;
    }
  }

  __device__ void fetch_first(char*, int depth) { fetch_step(depth); }
  template <Place>
  __device__ void fetch(char*) {
    fetch_step(kStepDepth<T>);
  }
  __device__ void commit(char* tile) {
#pragma unroll
    for (int pass = 0; pass < Map::kPasses; ++pass) {
      uint4 chunk;
      memcpy(&chunk, stage_[pass], sizeof chunk);
      *reinterpret_cast<uint4*>(tile + Map::offset(pass)) = chunk;
    }
  }

 private:
  __device__ void fetch_step(int depth) {
#pragma unroll
    for (int pass = 0; pass < Map::kPasses; ++pass) {
#pragma unroll
      for (int e = 0; e < kChunk<T>; ++e) {
        const bool inside = Map::chunk() * kChunk<T> + e < depth;
        stage_[pass][e] = inside ? from_[pass][e * step_] : from_float<T>(0.0f);
      }
      from_[pass] += depth * step_;
    }
  }

  index_t step_;
  const T* from_[Map::kPasses];
  T stage_[Map::kPasses][kChunk<T>];
};

}  // namespace espalier::kernels
