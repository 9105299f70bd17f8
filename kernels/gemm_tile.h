// Tiled matrix products, the machinery under gemm.cu and the convolutions: C [m, n] = A [m, k] * B [k, n].
// A block computes one Tile::kM x Tile::kN tile of C. Step by step, Tile::kK deep, it copies a tile of A and one of B
// into shared memory and multiplies them out of registers. What A, B and C are is up to three policies, so that a
// convolution gathers its operands and never writes them out. tiled_product.h launches it, gemm_loaders.h has the
// loaders of plain matrices.
//
// A loader (of A along m, of B along n; kWidth is Tile::kM or Tile::kN, `first` the block's first row or column):
//
//   struct MyLoader {
//     struct Parameters { ... };                                       // plain data, an argument of the kernel
//     static constexpr Strides kStrides = kDepthMajor<Tile, kWidth>;  // where element (i, k) of the shared tile lies
//     __device__ MyLoader(const Parameters&, index_t first, index_t batch);     // per-thread offsets, once per block
//     __device__ void start(index_t k);                                         // optional: the first k to come
//     template <class Depth> __device__ void fetch(index_t k, Depth depth);     // memory -> registers: k .. k + depth
//     template <class Depth> __device__ void commit(float* tile, Depth depth);  // registers -> shared
//   };
//
// fetch() of the next tile runs before the product of this one, commit() after it: the latency of memory hides behind
// arithmetic, and one barrier a step is enough because the shared tiles are double buffered. `depth` is
// Whole<Tile::kK>, a constant, save in a last, shorter step, where it is an int: guard with `inside(k, depth)`, which
// folds away for the constant. What a tile holds at k >= depth is never read. What it holds beyond the matrix along m
// or n reaches only outputs that the store drops: loaders clamp addresses there instead of testing each element. k
// ascends from call to call by Tile::kK. For example B [k, n] with B[k][n] = table[k] * scale[n], 256 threads, Tile 128
// x 128 x 16:
//
//   struct OuterProduct {
//     struct Parameters { const float *table, *scale; index_t n; };
//     static constexpr Strides kStrides = kDepthMajor<Tile, Tile::kN>;
//     __device__ OuterProduct(const Parameters& p, index_t first, index_t) : table_(p.table) {
//       const index_t column = first + threadIdx.x % 128;                  // this thread's column never changes
//       scale_ = p.scale[column < p.n ? column : p.n - 1];                 // clamped, not tested again
//     }
//     template <class Depth> __device__ void fetch(index_t k, Depth depth) {
//       for (int i = 0; i < 8; ++i) {
//         if (const int at = threadIdx.x / 128 + 2 * i; inside(at, depth)) value_[i] = table_[k + at] * scale_;
//       }
//     }
//     template <class Depth> __device__ void commit(float* tile, Depth) {
//       for (int i = 0; i < 8; ++i) tile[(threadIdx.x / 128 + 2 * i) * kStrides.depth + threadIdx.x % 128] = value_[i];
//     }
//     const float* table_; float scale_, value_[8] = {};
//   };
//
// A store takes kCount neighbouring columns of one row and drops what lies outside of C (a row may, too):
//
//   template <int kCount> __device__ void operator()(index_t batch, index_t row, index_t column,
//                                                    const float (&values)[kCount]) const;
//
// On a GPU a block is 64-256 threads, each with one register tile, and a loader shares its tile among threadIdx.x;
// kCount is 4. On a CPU (HostTile) a block is one thread that walks over its register tiles: no barrier and no fiber
// switch is left, the tile is a cache block, a loader remembers k in fetch() and copies straight from memory in
// commit(), whole rows at a time, and kCount is Tile::kThreadN. `if constexpr (Tile::kThreads == 1)` (or a
// std::conditional_t, as in gemm_loaders.h) chooses. The GPU's tiles run on the CPU too: that is how they are tested.
#pragma once
#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "kernels/shapes.h"
#include "kernels/simt/simt.h"
#include "kernels/simt/vector_store.h"
#include "kernels/simt/vectors.h"

namespace espalier::kernels {

// GPU: 8 x 8 sums are fed by four 128-bit shared loads per 64 multiply-adds. Padding 4 keeps rows 16-byte aligned and
// spreads the transposing stores over all banks.
struct LargeTile {
  static constexpr int kM = 128, kN = 128, kK = 16;  // a block makes C [kM, kN] in steps of depth kK
  static constexpr int kThreadM = 8, kThreadN = 8;   // C's register tile: what a thread sums at a time
  static constexpr int kThreads = 256;               // who share the register tiles
  static constexpr int kPadding = 4;                 // floats after each row of a shared tile
  static constexpr int kBlocks = 1;                  // at least so many to a multiprocessor: bounds the registers
};
struct MediumTile {
  static constexpr int kM = 64, kN = 64, kK = 16, kThreadM = 8, kThreadN = 4, kThreads = 128, kPadding = 4, kBlocks = 1;
};
struct SmallTile {
  static constexpr int kM = 32, kN = 32, kK = 16, kThreadM = 4, kThreadN = 4, kThreads = 64, kPadding = 4, kBlocks = 1;
};
// CPU: A's and B's tiles live in the second-level cache, a panel of B and eight rows of A in the first; padding by a
// cache line keeps B's rows out of each other's cache sets. Copying costs 1 / kM + 1 / kN floats per multiply-add.
// Zen 5 core, 1024^3, GFLOP/s: AVX-512 216-223 (OpenBLAS 245-268, the product alone 280), AVX2 99, SSE2 37; two cores
// 430-446 (OpenBLAS 420-490). Depth 64 instead of 192: 15 % slower on long thin products, equal elsewhere.
struct HostTile {
  static constexpr int kM = 64, kN = 128, kK = 192;
  static constexpr int kThreadM = simt::kProductRows, kThreadN = simt::kProductColumns, kThreads = 1;
  static constexpr int kPadding = 16, kBlocks = 1;
};
// For m and n beyond 64 and many blocks: a tenth faster at 1024^3, 3 % slower at 128 x 800 x 500.
struct HostLargeTile {
  static constexpr int kM = 128, kN = 128, kK = 128;
  static constexpr int kThreadM = simt::kProductRows, kThreadN = simt::kProductColumns, kThreads = 1;
  static constexpr int kPadding = 16, kBlocks = 1;
};

template <class Tile>
inline constexpr int kBuffers = Tile::kThreads == 1 ? 1 : 2;

// Element (i, k) of a shared tile lies at i * width + k * depth.
struct Strides {
  int width, depth;
};
template <class Tile, int kWidth>
inline constexpr Strides kDepthMajor = {1, kWidth + Tile::kPadding};  // [k, width]: what GPU tiles and any B need
template <class Tile>
inline constexpr Strides kWidthMajor = {Tile::kK + Tile::kPadding, 1};  // [width, k]: A of a one-thread tile may

template <Strides kStrides, int kWidth, int kDepth>
inline constexpr int kTileFloats = kStrides.width == 1 ? kStrides.depth* kDepth : kStrides.width* kWidth;

template <int kDepth>
using Whole = std::integral_constant<int, kDepth>;
template <int kDepth>
__device__ constexpr bool inside(int, Whole<kDepth>) {
  return true;
}
__device__ constexpr bool inside(int k, int depth) { return k < depth; }

// C [m, n], k deep, `batch` times: the batch index reaches loaders and store (groups of a convolution, for example).
struct ProductShape {
  index_t m = 0, n = 0, k = 0, batch = 1;
};

// What one thread sums: its register tile; or, being alone, the whole tile of C as panels of kThreadN columns.
template <class Tile>
struct Sums {
  static constexpr int kPanels = Tile::kThreads == 1 ? Tile::kN / Tile::kThreadN : 1;
  static constexpr int kRows = Tile::kThreads == 1 ? Tile::kM : Tile::kThreadM;
  float value[kPanels][kRows][Tile::kThreadN];
};

// Where a GPU thread's register tile lies: rows and columns in bands of four, the bands spread over the block, so that
// the lanes of a warp (4 x 8) read whole 128-byte lines of a shared row or broadcast.
template <class Tile>
struct ThreadTile {
  static constexpr int kChunk = 4;
  static constexpr int kRowBand = Tile::kM / (Tile::kThreadM / kChunk),
                       kColumnBand = Tile::kN / (Tile::kThreadN / kChunk);
  static constexpr int kWarpsAcross = Tile::kN / Tile::kThreadN / 8;
  static_assert(Tile::kThreadM % kChunk == 0 && Tile::kThreadN % kChunk == 0, "a thread reads 128 bits at a time");
  static_assert(Tile::kM * Tile::kN == Tile::kThreads * Tile::kThreadM * Tile::kThreadN, "a register tile a thread");
  static_assert(Tile::kN / Tile::kThreadN % 8 == 0 && Tile::kM / Tile::kThreadM % 4 == 0, "a warp is 4 x 8 threads");

  int row, column;  // of the first band
  __device__ ThreadTile() {
    const int warp = int(threadIdx.x) / 32, lane = int(threadIdx.x) % 32;
    row = (warp / kWarpsAcross * 4 + lane / 8) * kChunk;
    column = (warp % kWarpsAcross * 8 + lane % 8) * kChunk;
  }
  __device__ int row_of(int i) const { return i / kChunk * kRowBand + row + i % kChunk; }
  __device__ int column_of(int j) const { return j / kChunk * kColumnBand + column + j % kChunk; }
};

// sums += a * b for one step, GPU tile: the k loop unrolls when depth is a constant, and ptxas overlaps the shared
// loads of one k with the multiply-adds of the one before.
template <class Tile, class Depth>
__device__ inline void multiply_tile(const float* a, const float* b, Depth depth, Sums<Tile>& sums) {
  constexpr int kStrideA = Tile::kM + Tile::kPadding, kStrideB = Tile::kN + Tile::kPadding;
  using Thread = ThreadTile<Tile>;
  const Thread at;
  const auto one_deep = [&](int k) {
    float left[Tile::kThreadM], right[Tile::kThreadN];
#pragma unroll
    for (int i = 0; i < Tile::kThreadM; i += 4) {
      const float4 four = *reinterpret_cast<const float4*>(a + k * kStrideA + at.row_of(i));
      left[i] = four.x, left[i + 1] = four.y, left[i + 2] = four.z, left[i + 3] = four.w;
    }
#pragma unroll
    for (int j = 0; j < Tile::kThreadN; j += 4) {
      const float4 four = *reinterpret_cast<const float4*>(b + k * kStrideB + at.column_of(j));
      right[j] = four.x, right[j + 1] = four.y, right[j + 2] = four.z, right[j + 3] = four.w;
    }
#pragma unroll
    for (int i = 0; i < Tile::kThreadM; ++i) {
#pragma unroll
      for (int j = 0; j < Tile::kThreadN; ++j) sums.value[0][i][j] += left[i] * right[j];
    }
  };
  if constexpr (std::is_same_v<Depth, int>) {
#pragma unroll 1
    for (int k = 0; k < depth; ++k) one_deep(k);
  } else {
#pragma unroll
    for (int k = 0; k < Tile::kK; ++k) one_deep(k);
  }
}

// The same for a one-thread tile, as far as C reaches into it (rows x columns). Rows are shared out evenly, 20 as
// 7 + 7 + 6, because few rows at a time leave the multiply-add units waiting for B.
template <class Tile, Strides kStridesA>
inline void multiply_tile_by_vectors(const float* a, const float* b, int depth, bool fresh, int rows, int columns,
                                     Sums<Tile>& sums) {
  using Product = simt::VectorProduct<kStridesA.width, kStridesA.depth, Tile::kN + Tile::kPadding, Tile::kThreadN>;
  const int groups = (rows + Tile::kThreadM - 1) / Tile::kThreadM;
  for (int j = 0; j < columns; j += Tile::kThreadN) {
    for (int group = 0, i = 0; group < groups; ++group) {
      const int count = (rows - i) / (groups - group);
      Product::add(count, columns - j, a + i * kStridesA.width, b + j, depth, fresh, sums.value[j / Tile::kThreadN][i]);
      i += count;
    }
  }
}

// One block's share of one product.
struct BlockRange {
  index_t row, column, batch;  // first of the tile
  index_t k_begin, k_end;
};

template <class Tile, class LoaderA, class LoaderB>
inline constexpr int kSharedFloatsA = kTileFloats<LoaderA::kStrides, Tile::kM, Tile::kK>;
template <class Tile, class LoaderA, class LoaderB>
inline constexpr int kSharedFloatsB = kTileFloats<LoaderB::kStrides, Tile::kN, Tile::kK>;
template <class Tile, class LoaderA, class LoaderB>
inline constexpr int kOperandFloats = (kSharedFloatsA<Tile, LoaderA, LoaderB> +
                                       kSharedFloatsB<Tile, LoaderA, LoaderB>)*kBuffers<Tile>;
// A lone thread's sums are too many for registers and for the stack of a fiber: they follow the operands.
template <class Tile, class LoaderA, class LoaderB>
inline constexpr int kSharedFloats = kOperandFloats<Tile, LoaderA, LoaderB> +
                                     (Tile::kThreads == 1 ? int(sizeof(Sums<Tile>) / sizeof(float)) : 0);

// sums = A [rows of the tile, k_begin .. k_end] * B; `shared` holds kSharedFloats<...>.
template <class Tile, class LoaderA, class LoaderB>
__device__ inline void multiply(LoaderA& a, LoaderB& b, const BlockRange& range, const ProductShape& shape,
                                float* shared, Sums<Tile>& sums) {
  constexpr int kFloatsA = kSharedFloatsA<Tile, LoaderA, LoaderB>;
  constexpr int kStep = kFloatsA + kSharedFloatsB<Tile, LoaderA, LoaderB>;
  constexpr Whole<Tile::kK> whole{};
  int buffer = 0;
  bool fresh = range.k_begin < range.k_end;  // one thread's sums: unset until the first step sets them
  if (Tile::kThreads > 1 || !fresh) sums = {};
  const auto commit = [&](auto depth) {
    a.commit(shared + buffer, depth);
    b.commit(shared + buffer + kFloatsA, depth);
    __syncthreads();
  };
  const auto product = [&](auto depth) {
    const float* tile = shared + buffer;
    if constexpr (Tile::kThreads == 1) {
      const int rows = int(std::min<index_t>(Tile::kM, shape.m - range.row));
      const int columns = int(std::min<index_t>(Tile::kN, shape.n - range.column));
      multiply_tile_by_vectors<Tile, LoaderA::kStrides>(tile, tile + kFloatsA, depth, fresh, rows, columns, sums);
      fresh = false;
    } else {
      multiply_tile<Tile>(tile, tile + kFloatsA, depth, sums);
    }
    if constexpr (kBuffers<Tile> == 2) buffer = kStep - buffer;
  };
  index_t k = range.k_begin;
  if constexpr (requires { a.start(k); }) a.start(k);
  if constexpr (requires { b.start(k); }) b.start(k);
  const int steps = int((range.k_end - k) / Tile::kK), rest = int((range.k_end - k) % Tile::kK);
  if (steps > 0) {
    a.fetch(k, whole);
    b.fetch(k, whole);
    commit(whole);
  }
#pragma unroll 1
  for (int step = 1; step <= steps; ++step) {
    k += Tile::kK;
    if (step < steps) {
      a.fetch(k, whole);
      b.fetch(k, whole);
    }
    product(whole);
    if (step < steps) commit(whole);
  }
  if (rest > 0) {  // the other buffer is free: its readers passed a barrier
    a.fetch(k, rest);
    b.fetch(k, rest);
    commit(rest);
    product(rest);
  }
}

// True where every row of a matrix begins at a multiple of 16 bytes.
__host__ __device__ inline bool rows_aligned(const float* data, index_t leading) {
  return reinterpret_cast<std::uintptr_t>(data) % 16 == 0 && leading % 4 == 0;
}

// The last step of most stores: `values` to memory, of which only `left` floats remain in the row.
template <int kCount>
__device__ inline void store_run(float* to, index_t left, bool aligned, const float (&values)[kCount]) {
  if constexpr (kCount == 4) {
    if (aligned && left >= kCount) {
      simt::store_global(to, values);
      return;
    }
  }
  if (left >= kCount) {
#pragma unroll
    for (int i = 0; i < kCount; ++i) to[i] = values[i];
  } else {
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      if (i < left) to[i] = values[i];
    }
  }
}

// Whether a store first works out what the rows of four columns share.
template <class Store>
inline constexpr bool kStoresAcross = requires(const Store& store) {
  store.across(index_t(0), index_t(0));
};

// What stores (row, values) of kCount columns.
template <int kCount, class Store>
__device__ inline auto rows_of(const Store& store, index_t batch, index_t column) {
  if constexpr (kStoresAcross<Store>) {
    return [&store, across = store.across(batch, column)](index_t row, const float(&values)[kCount]) {
      store(across, row, values);
    };
  } else {
    return [&store, batch, column](index_t row, const float(&values)[kCount]) { store(batch, row, column, values); };
  }
}

template <class Tile, class Store>
__device__ inline void store_sums(const Sums<Tile>& sums, const BlockRange& range, const ProductShape& shape,
                                  const Store& store) {
  if constexpr (Tile::kThreads == 1) {
    const index_t rows = std::min<index_t>(Tile::kM, shape.m - range.row);
    const index_t columns = std::min<index_t>(Tile::kN, shape.n - range.column);
    for (index_t i = 0; i < rows; ++i) {
      for (index_t j = 0; j < columns; j += Tile::kThreadN) {
        const auto store_row = rows_of<Tile::kThreadN>(store, range.batch, range.column + j);
        store_row(range.row + i, sums.value[j / Tile::kThreadN][i]);
      }
    }
  } else {
    constexpr int kChunk = ThreadTile<Tile>::kChunk;
    const ThreadTile<Tile> at;
#pragma unroll
    for (int j = 0; j < Tile::kThreadN; j += kChunk) {
      const auto store_row = rows_of<kChunk>(store, range.batch, range.column + at.column_of(j));
#pragma unroll
      for (int i = 0; i < Tile::kThreadM; ++i) {
        float four[kChunk];
#pragma unroll
        for (int c = 0; c < kChunk; ++c) four[c] = sums.value[0][i][j + c];
        store_row(range.row + at.row_of(i), four);
      }
    }
  }
}

}  // namespace espalier::kernels
