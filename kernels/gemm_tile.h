// Tiled matrix products, the machinery under gemm.cu and the convolutions: C [m, n] = A [m, k] * B [k, n].
// A block computes one kTile.m x kTile.n tile of C. Step by step, kTile.k deep, it copies a tile of A and one of B into
// shared memory and multiplies them out of registers. What A, B and C are is up to three policies, so that a
// convolution gathers its operands and never writes them out.
//
// A loader (of A along m, of B along n; `width` is its kTile.m or kTile.n, `first` the block's first row or column):
//
//   struct MyLoader {
//     struct Parameters { ... };                                  // plain data: the kernel's argument
//     static constexpr Strides kStrides = kDepthMajor<kTile, width>;  // element (i, k) of the shared tile
//     __device__ MyLoader(const Parameters&, index_t first, index_t batch);  // per-thread offsets: once per block
//     template <class Depth> __device__ void fetch(index_t k, Depth depth);  // global -> registers, k .. k + depth
//     template <class Depth> __device__ void commit(float* tile, Depth depth);   // registers -> shared
//   };
//
// fetch() of the next tile runs before the product of this one, commit() after it: global latency hides behind the
// arithmetic, and one barrier per step is enough because the shared tiles are double buffered. `depth` is
// Whole<kTile.k> (a constant: every guard on it folds away) save in a last, shorter step, where it is an int;
// `inside(k, depth)` asks either. Elements with k >= depth are never read. Elements beyond the matrix along m or n may
// hold anything readable: they reach only outputs that the store drops, so loaders clamp addresses there instead of
// testing each element.
//
// A store takes kCount neighbouring columns of one row and drops what lies outside of C:
//
//   template <int kCount> __device__ void operator()(index_t batch, index_t row, index_t column,
//                                                    const float (&values)[kCount]) const;
//
// On a GPU a block is 64-256 threads, each with one register tile, and a loader shares its tile among threadIdx.x. On a
// CPU (kHostTile) a block is one thread that walks over its register tiles: no barrier and no fiber switch is left, the
// tile is a cache block, and a loader copies straight from memory in commit(). `if constexpr (kTile.threads == 1)`
// chooses; the GPU's tiles run on the CPU too, which is how they are tested there.
//
// Long and thin products (weight gradients) split k over several blocks. Each writes its partial sums, a second kernel
// adds them in ascending order: deterministic, without atomics.
#pragma once
#include <algorithm>
#include <type_traits>

#include "kernels/grid.h"
#include "kernels/require.h"
#include "kernels/shapes.h"
#include "kernels/simt/simt.h"
#include "kernels/simt/vectors.h"

namespace espalier::kernels {

struct Tile {
  int m, n, k;             // a block makes C [m, n] in steps of depth k
  int thread_m, thread_n;  // C's register tile: what one thread sums at a time
  int threads;             // who share the register tiles
  int padding;             // floats after each row of a shared tile, against bank conflicts (cache-set conflicts)

  constexpr int register_tiles() const { return (m / thread_m) * (n / thread_n) / threads; }  // per thread
  constexpr int buffers() const { return threads == 1 ? 1 : 2; }
};

// GPU: 8 x 8 sums are fed by four 128-bit shared loads per 64 multiply-adds. Padding 4 keeps rows 16-byte aligned and
// spreads the transposing stores over all banks.
inline constexpr Tile kLargeTile = {
    .m = 128, .n = 128, .k = 8, .thread_m = 8, .thread_n = 8, .threads = 256, .padding = 4};
inline constexpr Tile kMediumTile = {
    .m = 64, .n = 64, .k = 16, .thread_m = 8, .thread_n = 4, .threads = 128, .padding = 4};
inline constexpr Tile kSmallTile = {
    .m = 32, .n = 32, .k = 16, .thread_m = 4, .thread_n = 4, .threads = 64, .padding = 4};

// CPU: A (16 KiB) and a panel of B stay in the first-level cache, the sums in the second; padding by a cache line
// keeps B's rows out of each other's cache sets.
inline constexpr Tile kHostTile = {.m = 64,
                                   .n = 128,
                                   .k = 64,
                                   .thread_m = simt::kProductRows,
                                   .thread_n = simt::kProductColumns,
                                   .threads = 1,
                                   .padding = 16};

// Element (i, k) of a shared tile lies at i * width + k * depth.
struct Strides {
  int width, depth;
};
template <Tile kTile, int kWidth>
inline constexpr Strides kDepthMajor = {1, kWidth + kTile.padding};  // [k, width]: what GPU tiles and any B need
template <Tile kTile>
inline constexpr Strides kWidthMajor = {kTile.k + kTile.padding, 1};  // [width, k]: A of a one-thread tile may

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

template <Tile kTile>
struct Sums {
  float value[kTile.register_tiles()][kTile.thread_m][kTile.thread_n];
};

// Where a GPU thread's register tile lies: rows and columns in bands of four, the bands spread over the block, so that
// the lanes of a warp (4 x 8) read whole 128-byte lines of a shared row or broadcast.
template <Tile kTile>
struct ThreadTile {
  static constexpr int kChunk = 4;
  static constexpr int kRowBand = kTile.m / (kTile.thread_m / kChunk),
                       kColumnBand = kTile.n / (kTile.thread_n / kChunk);
  static constexpr int kWarpsAcross = kTile.n / kTile.thread_n / 8;
  static_assert(kTile.thread_m % kChunk == 0 && kTile.thread_n % kChunk == 0, "a thread reads 128 bits at a time");
  static_assert(kTile.register_tiles() == 1, "each thread of a GPU tile has one register tile");
  static_assert(kTile.n / kTile.thread_n % 8 == 0 && kTile.m / kTile.thread_m % 4 == 0, "a warp is 4 x 8 threads");

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
template <Tile kTile, class Depth>
__device__ inline void multiply_tile(const float* a, const float* b, Depth depth, Sums<kTile>& sums) {
  constexpr int kStrideA = kTile.m + kTile.padding, kStrideB = kTile.n + kTile.padding;
  using Thread = ThreadTile<kTile>;
  const Thread at;
  const auto one_deep = [&](int k) {
    float left[kTile.thread_m], right[kTile.thread_n];
#pragma unroll
    for (int i = 0; i < kTile.thread_m; i += 4) {
      const float4 four = *reinterpret_cast<const float4*>(a + k * kStrideA + at.row_of(i));
      left[i] = four.x, left[i + 1] = four.y, left[i + 2] = four.z, left[i + 3] = four.w;
    }
#pragma unroll
    for (int j = 0; j < kTile.thread_n; j += 4) {
      const float4 four = *reinterpret_cast<const float4*>(b + k * kStrideB + at.column_of(j));
      right[j] = four.x, right[j + 1] = four.y, right[j + 2] = four.z, right[j + 3] = four.w;
    }
#pragma unroll
    for (int i = 0; i < kTile.thread_m; ++i) {
#pragma unroll
      for (int j = 0; j < kTile.thread_n; ++j) sums.value[0][i][j] += left[i] * right[j];
    }
  };
  if constexpr (std::is_same_v<Depth, int>) {
#pragma unroll 1
    for (int k = 0; k < depth; ++k) one_deep(k);
  } else {
#pragma unroll
    for (int k = 0; k < kTile.k; ++k) one_deep(k);
  }
}

// The same for a one-thread tile; register tiles that hold no element of C (rows x columns of the tile do) are skipped.
template <Tile kTile, Strides kStridesA>
inline void multiply_tile_by_vectors(const float* a, const float* b, int depth, int rows, int columns,
                                     Sums<kTile>& sums) {
  constexpr int kStrideB = kTile.n + kTile.padding, kAcross = kTile.n / kTile.thread_n;
  for (int j = 0; j < columns; j += kTile.thread_n) {
    for (int i = 0; i < rows; i += kTile.thread_m) {
      simt::vector_product<kTile.thread_m, kTile.thread_n, kStridesA.width, kStridesA.depth, kStrideB>(
          a + i * kStridesA.width, b + j, depth, &sums.value[i / kTile.thread_m * kAcross + j / kTile.thread_n][0][0]);
    }
  }
}

// One block's share of one product.
struct BlockRange {
  index_t row, column, batch;  // first of the tile
  index_t k_begin, k_end;
};

template <Tile kTile, class LoaderA, class LoaderB>
inline constexpr int kSharedFloatsA = kTileFloats<LoaderA::kStrides, kTile.m, kTile.k>;
template <Tile kTile, class LoaderA, class LoaderB>
inline constexpr int kSharedFloatsB = kTileFloats<LoaderB::kStrides, kTile.n, kTile.k>;
template <Tile kTile, class LoaderA, class LoaderB>
inline constexpr int kSharedFloats = kTile.buffers() * (kSharedFloatsA<kTile, LoaderA, LoaderB> +
                                                        kSharedFloatsB<kTile, LoaderA, LoaderB>);

// sums = A [rows of the tile, k_begin .. k_end] * B; `shared` holds kSharedFloats<...>.
template <Tile kTile, class LoaderA, class LoaderB>
__device__ inline void multiply(LoaderA& a, LoaderB& b, const BlockRange& range, const ProductShape& shape,
                                float* shared, Sums<kTile>& sums) {
  constexpr int kFloatsA = kSharedFloatsA<kTile, LoaderA, LoaderB>;
  constexpr int kStep = kFloatsA + kSharedFloatsB<kTile, LoaderA, LoaderB>;
  constexpr Whole<kTile.k> whole{};
  int buffer = 0;
  const auto commit = [&](auto depth) {
    a.commit(shared + buffer, depth);
    b.commit(shared + buffer + kFloatsA, depth);
    __syncthreads();
  };
  const auto product = [&](auto depth) {
    const float* tile = shared + buffer;
    if constexpr (kTile.threads == 1) {
      const int rows = int(std::min<index_t>(kTile.m, shape.m - range.row));
      const int columns = int(std::min<index_t>(kTile.n, shape.n - range.column));
      multiply_tile_by_vectors<kTile, LoaderA::kStrides>(tile, tile + kFloatsA, depth, rows, columns, sums);
    } else {
      multiply_tile<kTile>(tile, tile + kFloatsA, depth, sums);
    }
    if constexpr (kTile.buffers() == 2) buffer = kStep - buffer;
  };
  index_t k = range.k_begin;
  if (k + kTile.k <= range.k_end) {
    a.fetch(k, whole);
    b.fetch(k, whole);
    commit(whole);
#pragma unroll 1
    for (k += kTile.k;; k += kTile.k) {
      const bool more = k + kTile.k <= range.k_end;
      if (more) {
        a.fetch(k, whole);
        b.fetch(k, whole);
      }
      product(whole);
      if (!more) break;
      commit(whole);
    }
  }
  if (const int rest = int(range.k_end - k); rest > 0) {  // the other buffer is free: its readers passed a barrier
    a.fetch(k, rest);
    b.fetch(k, rest);
    commit(rest);
    product(rest);
  }
}

template <Tile kTile, class Store>
__device__ inline void store_sums(const Sums<kTile>& sums, const BlockRange& range, const ProductShape& shape,
                                  const Store& store) {
  if constexpr (kTile.threads == 1) {
    constexpr int kAcross = kTile.n / kTile.thread_n;
    const index_t rows = std::min<index_t>(kTile.m, shape.m - range.row);
    const index_t columns = std::min<index_t>(kTile.n, shape.n - range.column);
    for (index_t i = 0; i < rows; ++i) {
      for (index_t j = 0; j < columns; j += kTile.thread_n) {
        store(range.batch, range.row + i, range.column + j,
              sums.value[i / kTile.thread_m * kAcross + j / kTile.thread_n][i % kTile.thread_m]);
      }
    }
  } else {
    constexpr int kChunk = ThreadTile<kTile>::kChunk;
    const ThreadTile<kTile> at;
#pragma unroll
    for (int i = 0; i < kTile.thread_m; ++i) {
#pragma unroll
      for (int j = 0; j < kTile.thread_n; j += kChunk) {
        float four[kChunk];
#pragma unroll
        for (int c = 0; c < kChunk; ++c) four[c] = sums.value[0][i][j + c];
        store(range.batch, range.row + at.row_of(i), range.column + at.column_of(j), four);
      }
    }
  }
}

// How the grid shares a product: x walks the tiles of C, z = batch * splits + split.
struct ProductGrid {
  ProductShape shape;
  index_t tiles_m = 1, tiles_n = 1;
  index_t splits = 1, split_depth = 0;  // split s sums k in [s, s + 1) * split_depth

  dim3 dimensions() const { return dim3(unsigned(tiles_m * tiles_n), 1, unsigned(shape.batch * splits)); }
  index_t workspace_floats() const { return splits == 1 ? 0 : splits * shape.batch * shape.m * shape.n; }
};

// Neighbouring blocks share operands in the L2 cache: they walk down eight rows of tiles before the next column.
template <Tile kTile>
__device__ inline BlockRange block_range(const ProductGrid& grid) {
  constexpr unsigned kBand = 8;
  const unsigned tiles_m = unsigned(grid.tiles_m), tiles_n = unsigned(grid.tiles_n);
  const unsigned band = blockIdx.x / (kBand * tiles_n), in_band = blockIdx.x % (kBand * tiles_n);
  const unsigned rows = tiles_m - band * kBand < kBand ? tiles_m - band * kBand : kBand;
  const unsigned splits = unsigned(grid.splits);
  const index_t split = blockIdx.z % splits, k_begin = split * grid.split_depth;
  const index_t k_end = k_begin + grid.split_depth < grid.shape.k ? k_begin + grid.split_depth : grid.shape.k;
  return {index_t(band * kBand + in_band % rows) * kTile.m, index_t(in_band / rows) * kTile.n,
          index_t(blockIdx.z / splits), k_begin, k_end};
}

// Where split products leave their sums: [split, batch, m, n].
struct PartialStore {
  float* partial;
  index_t m, n;
  template <int kCount>
  __device__ void operator()(index_t plane, index_t row, index_t column, const float (&values)[kCount]) const {
    if (row >= m) return;
    float* to = partial + (plane * m + row) * n + column;
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      if (column + i < n) to[i] = values[i];
    }
  }
};

template <Tile kTile, class LoaderA, class LoaderB, class Store>
__global__ void __launch_bounds__(kTile.threads)
    tiled_product_kernel(ProductGrid grid, typename LoaderA::Parameters parameters_a,
                         typename LoaderB::Parameters parameters_b, Store store) {
  float* shared = simt::dynamic_shared<float>();
  BlockRange range = block_range<kTile>(grid);
  LoaderA a(parameters_a, range.row, range.batch);
  LoaderB b(parameters_b, range.column, range.batch);
  Sums<kTile> sums = {};
  multiply<kTile>(a, b, range, grid.shape, shared, sums);
  if (grid.splits > 1) range.batch += index_t(blockIdx.z % unsigned(grid.splits)) * grid.shape.batch;
  store_sums<kTile>(sums, range, grid.shape, store);
}

// C = the sum of the splits, in ascending order, through the product's own store.
template <int kCount, class Store>
__global__ void sum_splits_kernel(ProductGrid grid, const float* __restrict__ partial, Store store) {
  const index_t chunks = ceil_div<index_t>(grid.shape.n, kCount), plane = grid.shape.m * grid.shape.n;
  for_each_element(grid.shape.batch * grid.shape.m * chunks, [&](index_t i) {
    const index_t column = i % chunks * kCount, row = i / chunks % grid.shape.m, batch = i / chunks / grid.shape.m;
    const float* from = partial + batch * plane + row * grid.shape.n + column;
    const index_t count = grid.shape.n - column < kCount ? grid.shape.n - column : kCount;
    float sum[kCount] = {};
    for (index_t split = 0; split < grid.splits; ++split, from += grid.shape.batch * plane) {
#pragma unroll
      for (int c = 0; c < kCount; ++c) {
        if (c < count) sum[c] += from[c];
      }
    }
    store(batch, row, column, sum);
  });
}

// Blocks a product should have before it stops splitting k, and the least depth worth a block of its own. Both are
// constants, so that the order of summation, hence every bit of the result, is the same on every machine of a build.
inline constexpr index_t kWantedBlocks = simt::kEmulated ? 16 : 264, kLeastSplitDepth = 128;

// splits: as many as fill the device, never more than the workspace has room for.
template <Tile kTile>
ProductGrid product_grid(const ProductShape& shape, index_t workspace_floats) {
  ProductGrid grid{.shape = shape,
                   .tiles_m = ceil_div<index_t>(shape.m, kTile.m),
                   .tiles_n = ceil_div<index_t>(shape.n, kTile.n),
                   .splits = 1,
                   .split_depth = shape.k};
  const index_t blocks = grid.tiles_m * grid.tiles_n * shape.batch, result = shape.batch * shape.m * shape.n;
  const index_t wanted = std::min(
      {kWantedBlocks / blocks, shape.k / kLeastSplitDepth, workspace_floats / result, kMaxGridYZ / shape.batch});
  if (wanted > 1) {
    grid.split_depth = ceil_div(ceil_div(shape.k, wanted), index_t(kTile.k)) * kTile.k;
    grid.splits = ceil_div(shape.k, grid.split_depth);
  }
  return grid;
}

// A workspace that lets the product split as it likes; 0 when it would not.
template <Tile kTile>
index_t product_workspace_floats(const ProductShape& shape) {
  return product_grid<kTile>(shape, INT64_MAX).workspace_floats();
}

// C = A * B through loaders and store. `workspace` may be null (then k is not split).
template <Tile kTile, class LoaderA, class LoaderB, class Store>
void tiled_product(const ProductShape& shape, const typename LoaderA::Parameters& a,
                   const typename LoaderB::Parameters& b, const Store& store, float* workspace,
                   index_t workspace_floats, cudaStream_t stream,
                   std::source_location where = std::source_location::current()) {
  const ProductGrid grid = product_grid<kTile>(shape, workspace == nullptr ? 0 : workspace_floats);
  require(grid.tiles_m * grid.tiles_n <= kMaxGridX && shape.batch <= kMaxGridYZ, "tiled product: m ", shape.m, ", n ",
          shape.n, ", batch ", shape.batch, " need more blocks than a grid has; split the batch");
  const simt::Launch launch{grid.dimensions(), dim3(unsigned(kTile.threads)),
                            kSharedFloats<kTile, LoaderA, LoaderB> * sizeof(float), stream, where};
  if (grid.splits == 1) {
    simt::launch(tiled_product_kernel<kTile, LoaderA, LoaderB, Store>, launch, grid, a, b, store);
    return;
  }
  simt::launch(tiled_product_kernel<kTile, LoaderA, LoaderB, PartialStore>, launch, grid, a, b,
               PartialStore{workspace, shape.m, shape.n});
  constexpr int kCount = simt::kEmulated ? kHostTile.thread_n : 4;
  const index_t chunks = shape.batch * shape.m * ceil_div<index_t>(shape.n, kCount);
  simt::launch(sum_splits_kernel<kCount, Store>, elements_grid(chunks, stream, where), grid, workspace, store);
}

}  // namespace espalier::kernels
