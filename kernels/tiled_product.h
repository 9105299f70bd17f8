// Launching what gemm_tile.h multiplies: the grid, the kernel, and the split of long thin products over k.
// A weight gradient is small and its k axis long: a tile grid alone would leave most of the device idle. Then several
// blocks share one tile of C, each sums a range of k into a workspace, and the last one to arrive (without arrival
// counters a second kernel) adds the ranges in ascending order. That costs splits * m * n floats written and read once,
// is deterministic and adds no float atomically.
#pragma once
#include <cstdint>

#include "kernels/gemm_tile.h"
#include "kernels/grid.h"
#include "kernels/last_block.h"
#include "kernels/require.h"
#include "kernels/simt/element_loop.h"

namespace espalier::kernels {

// How the grid shares a product: x walks the tiles of C, z = batch * splits + split.
struct ProductGrid {
  ProductShape shape;
  index_t tiles_m = 1, tiles_n = 1;
  index_t splits = 1, split_depth = 0;  // split s sums k in [s, s + 1) * split_depth

  dim3 dimensions() const { return dim3(unsigned(tiles_m * tiles_n), 1, unsigned(shape.batch * splits)); }
  index_t workspace_floats() const { return splits == 1 ? 0 : splits * shape.batch * shape.m * shape.n; }
};

// Neighbouring blocks share operands in the L2 cache: they walk down eight rows of tiles before the next column.
template <class Tile>
__device__ inline BlockRange block_range(const ProductGrid& grid, unsigned tile, unsigned batch_split) {
  constexpr unsigned kBand = 8;
  const unsigned tiles_m = unsigned(grid.tiles_m), tiles_n = unsigned(grid.tiles_n);
  const unsigned band = tile / (kBand * tiles_n), in_band = tile % (kBand * tiles_n);
  const unsigned rows = tiles_m - band * kBand < kBand ? tiles_m - band * kBand : kBand;
  const unsigned splits = unsigned(grid.splits);
  const index_t split = batch_split % splits, k_begin = split * grid.split_depth;
  const index_t k_end = k_begin + grid.split_depth < grid.shape.k ? k_begin + grid.split_depth : grid.shape.k;
  return {index_t(band * kBand + in_band % rows) * Tile::kM, index_t(in_band / rows) * Tile::kN,
          index_t(batch_split / splits), k_begin, k_end};
}

template <class Tile>
__device__ inline BlockRange block_range(const ProductGrid& grid) {
  return block_range<Tile>(grid, blockIdx.x, blockIdx.z);
}

// Where split products leave their sums: [split, batch, m, n].
struct PartialStore {
  float* partial;
  index_t m, n;
  bool aligned;  // rows begin at multiples of 16 bytes
  template <int kCount>
  __device__ void operator()(index_t plane, index_t row, index_t column, const float (&values)[kCount]) const {
    if (row < m) store_run(partial + (plane * m + row) * n + column, n - column, aligned, values);
  }
};

// Where the blocks of split products leave their sums, and where they sign: [batch, tile], or null for a second kernel.
struct SplitSums {
  PartialStore store = {};
  unsigned* arrivals = nullptr;
};

template <class Tile, class LoaderA, class LoaderB, class Store>
__device__ inline void multiply_and_store(const ProductShape& shape, const BlockRange& range, index_t stored_batch,
                                          const typename LoaderA::Parameters& parameters_a,
                                          const typename LoaderB::Parameters& parameters_b, const Store& store) {
  float* shared = simt::dynamic_shared<float>();
  LoaderA a(parameters_a, range.row, range.batch);
  LoaderB b(parameters_b, range.column, range.batch);
  const auto run = [&](Sums<Tile>& sums) {
    multiply<Tile>(a, b, range, shape, shared, sums);
    BlockRange to = range;
    to.batch = stored_batch;
    store_sums<Tile>(sums, to, shape, store);
  };
  if constexpr (Tile::kThreads == 1) {
    run(*reinterpret_cast<Sums<Tile>*>(shared + kOperandFloats<Tile, LoaderA, LoaderB>));
  } else {
    Sums<Tile> sums;
    run(sums);
  }
}

template <class Tile, class LoaderA, class LoaderB, class Store>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kBlocks)
    tiled_product_kernel(ProductGrid grid, typename LoaderA::Parameters parameters_a,
                         typename LoaderB::Parameters parameters_b, Store store) {
  const BlockRange range = block_range<Tile>(grid);
  multiply_and_store<Tile, LoaderA, LoaderB>(grid.shape, range, range.batch, parameters_a, parameters_b, store);
}

// A run of C, the sum of its splits in ascending order, through the product's own store.
template <int kCount, class Store>
__device__ inline void sum_run(const ProductGrid& grid, const float* partial, index_t batch, index_t row,
                               index_t column, const Store& store) {
  const index_t plane = grid.shape.m * grid.shape.n, left = grid.shape.n - column;
  const float* from = partial + batch * plane + row * grid.shape.n + column;
  const index_t count = left < kCount ? left : kCount, next_split = grid.shape.batch * plane;
  float sum[kCount] = {};
  if constexpr (kCount == 4) {  // neighbouring lanes have neighbouring runs: a float at a time would be four passes
    if (rows_aligned(partial, grid.shape.n)) {
      for (index_t split = 0; split < grid.splits; ++split, from += next_split) {
        const float4 four = *reinterpret_cast<const float4*>(from);
        sum[0] += four.x, sum[1] += four.y, sum[2] += four.z, sum[3] += four.w;
      }
      return rows_of<kCount>(store, batch, column)(row, sum);
    }
  }
  for (index_t split = 0; split < grid.splits; ++split, from += next_split) {
#pragma unroll
    for (int c = 0; c < kCount; ++c) {
      if (c < count) sum[c] += from[c];
    }
  }
  rows_of<kCount>(store, batch, column)(row, sum);
}

// One split's share of a tile of C; the last block to leave its share adds them all.
template <class Tile, class LoaderA, class LoaderB, class Store>
__device__ inline void multiply_split(const ProductGrid& grid, unsigned tile, unsigned batch_split,
                                      const typename LoaderA::Parameters& parameters_a,
                                      const typename LoaderB::Parameters& parameters_b, const SplitSums& splits,
                                      const Store& store) {
  const BlockRange range = block_range<Tile>(grid, tile, batch_split);
  const index_t plane = range.batch + index_t(batch_split % unsigned(grid.splits)) * grid.shape.batch;
  multiply_and_store<Tile, LoaderA, LoaderB>(grid.shape, range, plane, parameters_a, parameters_b, splits.store);
  if (splits.arrivals == nullptr) return;
  unsigned* arrived = splits.arrivals + range.batch * grid.tiles_m * grid.tiles_n + tile;
  if (!is_last_block(arrived, unsigned(grid.splits))) return;
  constexpr int kCount = Tile::kThreads == 1 ? Tile::kThreadN : 4, kRuns = Tile::kN / kCount;
  const index_t rows = grid.shape.m - range.row;
  for (int i = int(threadIdx.x); i < Tile::kM * kRuns; i += Tile::kThreads) {
    const index_t column = range.column + i % kRuns * kCount;
    if (i / kRuns >= rows) return;
    if (column < grid.shape.n) {
      sum_run<kCount>(grid, splits.store.partial, range.batch, range.row + i / kRuns, column, store);
    }
  }
}

template <class Tile, class LoaderA, class LoaderB, class Store>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kBlocks)
    split_product_kernel(ProductGrid grid, typename LoaderA::Parameters parameters_a,
                         typename LoaderB::Parameters parameters_b, SplitSums splits, Store store) {
  multiply_split<Tile, LoaderA, LoaderB>(grid, blockIdx.x, blockIdx.z, parameters_a, parameters_b, splits, store);
}

// The second pass of split products that came without arrival counters.
template <int kCount, class Store>
__global__ void sum_splits_kernel(ProductGrid grid, const float* partial, Store store) {
  const index_t chunks = ceil_div<index_t>(grid.shape.n, kCount);
  for_each_element(grid.shape.batch * grid.shape.m * chunks, [&](index_t i) {
    const index_t row = i / chunks;
    sum_run<kCount>(grid, partial, row / grid.shape.m, row % grid.shape.m, i % chunks * kCount, store);
  });
}

template <class Store>
void sum_splits(const ProductGrid& grid, const float* partial, const Store& store, cudaStream_t stream,
                std::source_location where = std::source_location::current()) {
  constexpr int kCount = simt::kEmulated && !kStoresAcross<Store> ? HostTile::kThreadN : 4;
  const simt::Launch launch = elements_grid(grid.shape.batch * grid.shape.m * grid.shape.n, stream, where);
  simt::launch(sum_splits_kernel<kCount, Store>, launch, grid, partial, store);
}

// Blocks a product should have before it stops splitting k; and what a split must be worth, in depth and (a CPU thread
// is woken for it) in multiply-adds of a block. All are constants, so that the order of summation, hence every bit of
// the result, is the same on every machine of a build.
inline constexpr index_t kWantedBlocks = simt::kEmulated ? 16 : 264, kLeastSplitDepth = 128;
template <class Tile>
inline constexpr index_t kLeastSplitWork = Tile::kThreads == 1 ? 1 << 20 : 1;

// splits: as many as fill the device, never more than the workspace has room for.
template <class Tile>
ProductGrid product_grid(const ProductShape& shape, index_t workspace_floats) {
  ProductGrid grid{.shape = shape,
                   .tiles_m = ceil_div<index_t>(shape.m, Tile::kM),
                   .tiles_n = ceil_div<index_t>(shape.n, Tile::kN),
                   .splits = 1,
                   .split_depth = shape.k};
  const index_t blocks = grid.tiles_m * grid.tiles_n * shape.batch, result = shape.batch * shape.m * shape.n;
  const index_t work = std::min<index_t>(shape.m, Tile::kM) * std::min<index_t>(shape.n, Tile::kN);  // per depth
  const index_t least_depth = std::max(kLeastSplitDepth, kLeastSplitWork<Tile> / work);
  const index_t wanted =
      std::min({kWantedBlocks / blocks, shape.k / least_depth, workspace_floats / result, kMaxGridYZ / shape.batch});
  if (wanted > 1) {
    constexpr index_t kUnit = Tile::kThreads == 1 ? 16 : Tile::kK;  // staged loaders begin at whole steps
    grid.split_depth = ceil_div(ceil_div(shape.k, wanted), kUnit) * kUnit;
    grid.splits = ceil_div(shape.k, grid.split_depth);
  }
  return grid;
}

// A workspace that lets the product split as it likes; 0 when it would not.
template <class Tile>
index_t product_workspace_floats(const ProductShape& shape) {
  return product_grid<Tile>(shape, INT64_MAX).workspace_floats();
}

inline SplitSums split_sums(const ProductGrid& grid, const Workspace& workspace) {
  const bool counted = grid.tiles_m * grid.tiles_n * grid.shape.batch <= kArrivals;
  return {{workspace.data, grid.shape.m, grid.shape.n, rows_aligned(workspace.data, grid.shape.n)},
          counted ? workspace.arrivals : nullptr};
}

template <class Tile, class LoaderA, class LoaderB>
simt::Launch product_launch(const ProductGrid& grid, cudaStream_t stream, std::source_location where) {
  const ProductShape& s = grid.shape;
  require(grid.tiles_m * grid.tiles_n <= kMaxGridX && s.batch <= kMaxGridYZ, "tiled product: m ", s.m, ", n ", s.n,
          ", batch ", s.batch, " need more blocks than a grid has; split the batch");
  return {grid.dimensions(), dim3(unsigned(Tile::kThreads)), kSharedFloats<Tile, LoaderA, LoaderB> * sizeof(float),
          stream, where};
}

// C = A * B through loaders and store, k in one piece: for what has no workspace, so that no split kernel is compiled.
template <class Tile, class LoaderA, class LoaderB, class Store>
void whole_product(const ProductShape& shape, const typename LoaderA::Parameters& a,
                   const typename LoaderB::Parameters& b, const Store& store, cudaStream_t stream,
                   std::source_location where = std::source_location::current()) {
  const ProductGrid grid = product_grid<Tile>(shape, 0);
  simt::launch(tiled_product_kernel<Tile, LoaderA, LoaderB, Store>,
               product_launch<Tile, LoaderA, LoaderB>(grid, stream, where), grid, a, b, store);
}

// The same, split over k as far as the workspace allows.
template <class Tile, class LoaderA, class LoaderB, class Store>
void tiled_product(const ProductShape& shape, const typename LoaderA::Parameters& a,
                   const typename LoaderB::Parameters& b, const Store& store, Workspace workspace, cudaStream_t stream,
                   std::source_location where = std::source_location::current()) {
  const ProductGrid grid = product_grid<Tile>(shape, workspace.floats);
  if (grid.splits == 1) return whole_product<Tile, LoaderA, LoaderB>(shape, a, b, store, stream, where);
  const SplitSums splits = split_sums(grid, workspace);
  simt::launch(split_product_kernel<Tile, LoaderA, LoaderB, Store>,
               product_launch<Tile, LoaderA, LoaderB>(grid, stream, where), grid, a, b, splits, store);
  if (splits.arrivals == nullptr) sum_splits(grid, workspace.data, store, stream, where);
}

}  // namespace espalier::kernels
