// Launching what pipelined_tile.h multiplies: one product or two in one launch, each split along k where C alone has
// too few tiles to fill a device. A split's blocks leave their sums in the workspace, and the last block to arrive at a
// tile adds them in ascending order (without arrival counters a second kernel does): deterministic, no float is added
// atomically. Costs splits * (a tile) floats written and read once, out of the L2 cache.
#pragma once
#include "kernels/last_block.h"
#include "kernels/pipelined_tile.h"
#include "kernels/tiled_product.h"

namespace espalier::kernels {

// One product as a kernel sees it. The store needs to know `aligned`: whether it can take four neighbours at once.
template <class Store>
struct PipelinedProduct {
  ProductGrid grid;
  PipelinedView a, b;
  Store store;
  float* row_sums = nullptr;     // [m], if they are wanted
  float* partial = nullptr;      // [tile, split, kPartialFloats]
  unsigned* arrivals = nullptr;  // [tile]

  __host__ __device__ unsigned tiles() const { return unsigned(grid.tiles_m * grid.tiles_n); }
  __host__ __device__ unsigned blocks() const { return tiles() * unsigned(grid.splits); }
};

// A block's sums and those of its rows of A. A multiple of 128 bytes: no cache line belongs to two blocks.
template <class Tile>
inline constexpr int kPartialFloats = Tile::kM* Tile::kN + Tile::kM;

// Where the block's tile lies in C: in shared memory, because the main loop has no register to spare for it.
struct TilePlace {
  int row, column;
};

// What one thread sums: its share of C's tile and, if it has one, a row of A.
template <class Tile>
struct PipelinedSums {
  Sums<Tile> tile;
  float row = 0.0f;

  static constexpr int kRuns = Tile::kThreadM * Tile::kThreadN / 4;
  __device__ float* run(int i) { return &tile.value[0][i * 4 / Tile::kThreadN][i * 4 % Tile::kThreadN]; }
  __device__ static bool has_row() { return int(threadIdx.x) < Tile::kM; }

  __device__ void write(float* partial) {
    float* to = partial + 4 * threadIdx.x;
#pragma unroll
    for (int i = 0; i < kRuns; ++i) {
      const float* sum = run(i);
      simt::store_global(to + i * 4 * Tile::kThreads, {sum[0], sum[1], sum[2], sum[3]});
    }
    if (has_row()) partial[Tile::kM * Tile::kN + threadIdx.x] = row;
  }
  // In ascending order. A few loads are under way together; more would want more registers than there are.
  __device__ void read_sum(const float* partial, index_t splits) {
    constexpr int kAtOnce = kRuns < 8 ? kRuns : 8;
    tile = {};
    row = 0.0f;
#pragma unroll
    for (int first = 0; first < kRuns; first += kAtOnce) {
      const float* from = partial + 4 * threadIdx.x + first * 4 * Tile::kThreads;
#pragma unroll 1
      for (index_t split = 0; split < splits; ++split, from += kPartialFloats<Tile>) {
        float4 four[kAtOnce];
#pragma unroll
        for (int i = 0; i < kAtOnce; ++i) four[i] = *reinterpret_cast<const float4*>(from + i * 4 * Tile::kThreads);
#pragma unroll
        for (int i = 0; i < kAtOnce; ++i) {
          float* sum = run(first + i);
          sum[0] += four[i].x, sum[1] += four[i].y, sum[2] += four[i].z, sum[3] += four[i].w;
        }
      }
    }
    if (!has_row()) return;
    const float* from = partial + Tile::kM * Tile::kN + threadIdx.x;
    for (index_t split = 0; split < splits; ++split, from += kPartialFloats<Tile>) row += *from;
  }
};

// C's tile to memory by way of shared memory, a band of rows at a time: a warp writes whole lines, and the store is
// compiled once instead of for each of a thread's sums.
template <class Tile, class Store>
__device__ inline void store_staged(const Sums<Tile>& sums, const TilePlace& place, float* shared, const Store& store) {
  constexpr int kBand = ThreadTile<Tile>::kRowBand;
  static_assert(kBand * Tile::kN <= kPipelineFloats<Tile>, "a band of rows fits where the operands were");
  const ThreadTile<Tile> at;
#pragma unroll
  for (int band = 0; band < Tile::kThreadM / 4; ++band) {
    __syncthreads();  // nobody reads any more what was there
#pragma unroll
    for (int i = 0; i < 4; ++i) {
#pragma unroll
      for (int j = 0; j < Tile::kThreadN; j += 4) {
        const float* sum = &sums.value[0][band * 4 + i][j];
        simt::store_shared(shared + (at.row + i) * Tile::kN + at.column_of(j), {sum[0], sum[1], sum[2], sum[3]});
      }
    }
    __syncthreads();
    const index_t row = place.row + band * kBand, column = place.column;
    if (store.aligned) {
#pragma unroll 1
      for (int i = 4 * int(threadIdx.x); i < kBand * Tile::kN; i += 4 * Tile::kThreads) {
        float four[4];
        detail::load_floats<4>(shared + i, four);
        store(0, row + i / Tile::kN, column + i % Tile::kN, four);
      }
    } else {
#pragma unroll 1
      for (int i = int(threadIdx.x); i < kBand * Tile::kN; i += Tile::kThreads) {
        const float one[1] = {shared[i]};
        store(0, row + i / Tile::kN, column + i % Tile::kN, one);
      }
    }
  }
}

template <class Tile, class Store>
__device__ inline void store_all(const PipelinedSums<Tile>& sums, const TilePlace& place, float* shared,
                                 const PipelinedProduct<Store>& product) {
  store_staged<Tile>(sums.tile, place, shared, product.store);
  if (product.row_sums != nullptr && place.column == 0 && sums.has_row()) {
    const index_t row = place.row + int(threadIdx.x);
    if (row < product.grid.shape.m) product.row_sums[row] = sums.row;
  }
}

// The work of one block: `index` counts the tiles of C, split by split.
template <class Tile, class LoaderA, class LoaderB, bool kRowSums, class Store>
__device__ inline void multiply_block(const PipelinedProduct<Store>& product, unsigned index, float* shared) {
  __shared__ TilePlace place;
  const unsigned tiles = product.tiles();
  PipelinedSums<Tile> sums;
  {
    const BlockRange range = block_range<Tile>(product.grid, index % tiles, index / tiles);
    if (threadIdx.x == 0) place = {int(range.row), int(range.column)};
    LoaderA a(product.a, range.row, range.k_begin);
    LoaderB b(product.b, range.column, range.k_begin);
    const auto add_rows = [&](const float* stage, auto depth) {
      if constexpr (kRowSums) {
        if (place.column != 0 || !sums.has_row()) return;
#pragma unroll
        for (int k = 0; k < Tile::kK; ++k) {
          if (inside(k, depth)) sums.row += stage[StageLayout<Tile>::template at<Side::a>(k) + threadIdx.x];
        }
      }
    };
    multiply_pipelined<Tile>(a, b, int(range.k_end - range.k_begin), shared, sums.tile, add_rows);
  }
  __syncthreads();
  if (product.grid.splits > 1) {
    const unsigned tile = index % tiles, split = index / tiles;
    float* partial = product.partial + index_t(tile) * product.grid.splits * kPartialFloats<Tile>;
    sums.write(partial + index_t(split) * kPartialFloats<Tile>);
    if (product.arrivals == nullptr) return;
    if (!is_last_block(product.arrivals + tile, unsigned(product.grid.splits))) return;
    sums.read_sum(partial, product.grid.splits);
  }
  store_all<Tile>(sums, place, shared, product);
}

// Without asynchronous copies a thread holds what it loads in registers, row sums want one or two more: fewer blocks
// leave room for that.
template <class Tile, bool kRowSums>
inline constexpr int kResident = simt::kAsyncCopy ? Tile::kBlocks - (kRowSums ? 1 : 0) : Tile::kBlocks / 2;

template <class Tile, class LoaderA, class LoaderB, bool kRowSums, class Store>
__global__ void __launch_bounds__(Tile::kThreads, kResident<Tile, kRowSums>)
    pipelined_product_kernel(PipelinedProduct<Store> product) {
  multiply_block<Tile, LoaderA, LoaderB, kRowSums>(product, blockIdx.x, simt::dynamic_shared<float>());
}

// The second pass of split products that came without arrival counters: a block for each tile.
template <class Tile, class Store>
__global__ void __launch_bounds__(Tile::kThreads, 1) finish_splits_kernel(PipelinedProduct<Store> product) {
  const BlockRange range = block_range<Tile>(product.grid, blockIdx.x, 0);
  PipelinedSums<Tile> sums;
  sums.read_sum(product.partial + index_t(blockIdx.x) * product.grid.splits * kPartialFloats<Tile>,
                product.grid.splits);
  store_all<Tile>(sums, {int(range.row), int(range.column)}, simt::dynamic_shared<float>(), product);
}

template <class Tile, class Store>
void finish_splits(const PipelinedProduct<Store>& product, cudaStream_t stream) {
  if (product.grid.splits == 1 || product.arrivals != nullptr) return;
  simt::launch(finish_splits_kernel<Tile, Store>,
               {dim3(product.tiles()), dim3(unsigned(Tile::kThreads)), kPipelineFloats<Tile> * sizeof(float), stream},
               product);
}

template <class Tile, class LoaderA, class LoaderB, bool kRowSums, class Store>
void pipelined_product(const PipelinedProduct<Store>& product, cudaStream_t stream) {
  simt::launch(pipelined_product_kernel<Tile, LoaderA, LoaderB, kRowSums, Store>,
               {dim3(product.blocks()), dim3(unsigned(Tile::kThreads)), kPipelineFloats<Tile> * sizeof(float), stream},
               product);
  finish_splits<Tile>(product, stream);
}

}  // namespace espalier::kernels
