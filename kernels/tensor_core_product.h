// C [m, n] = A [m, k] * B [k, n] on tensor cores: what tiled_product.h is for plain multiply-adds. Loaders bring steps
// of 64 bytes along k into a ring of shared tiles (tensor_core_tile.h), a store takes four neighbouring sums at a time.
// A step costs a warp of the large tile 64 mma, 16 ldmatrix, 8 cp.async a thread and one barrier: 46 to 54 % of the
// instructions of sm_80's loop are HMMA, whatever is transposed (CUTLASS: fp16 41 %, tf32 21 %); 236 to 246 registers,
// no spills, two blocks to a multiprocessor. Fragments are read one instruction ahead of the products, over the barrier
// too. The steps begin with the short one, if k is no multiple of the depth, so that the loop tests nothing.
//
// A loader:
//   using Element, Parameters; static constexpr Along kAlong;  // of its tile
//   static constexpr bool kStaged;  // through registers: fetch() reads memory, commit() writes the tile
//   __device__ Loader(const Parameters&, index_t first, const BlockRange&);
//   __device__ void fetch_first(char* tile, int depth);   // the first step; zeros from `depth` on
//   template <Place kPlace> __device__ void fetch(char* tile);  // every further step, whole
//   __device__ void commit(char* tile);
//   __device__ static Place place(const Parameters&, index_t first);  // optional: whether the tile overhangs the
//   matrix,
//                                                                     // where that has a loop of its own
#pragma once
#include "kernels/simt/async_copy.h"
#include "kernels/simt/vector_store.h"
#include "kernels/tensor_core_tile.h"
#include "kernels/tiled_product.h"

namespace espalier::kernels {

enum class Place { interior, edge };

template <class Tile, class LoaderA, class LoaderB>
struct TensorCoreBlock {
  using T = typename LoaderA::Element;
  using TileA = OperandTile<T, Tile::kM, LoaderA::kAlong>;
  using TileB = OperandTile<T, Tile::kN, LoaderB::kAlong>;
  using FragmentsA = FragmentLoader<T, Side::a, Tile::kM, Tile::kWarpM, LoaderA::kAlong>;
  using FragmentsB = FragmentLoader<T, Side::b, Tile::kN, Tile::kWarpN, LoaderB::kAlong>;
  using Sums = float[Tile::kWarpM / 16][Tile::kWarpN / 8][4];
  static constexpr int kWarpsAcross = Tile::kN / Tile::kWarpN;
  static constexpr int kStageBytes = TileA::kBytes + TileB::kBytes, kRingBytes = kStageBytes * Tile::kStages;
  static constexpr bool kStaged = LoaderA::kStaged;
  static_assert(Tile::kThreads == Tile::kM / Tile::kWarpM * kWarpsAcross * 32, "the warps cover the tile");
  static_assert(!kStaged || Tile::kStages == 2, "what passes through registers is one step ahead");
  static_assert(LoaderA::kStaged == LoaderB::kStaged, "both operands arrive the same way");

  __device__ static int warp_row() { return int(threadIdx.x) / 32 / kWarpsAcross * Tile::kWarpM; }
  __device__ static int warp_column() { return int(threadIdx.x) / 32 % kWarpsAcross * Tile::kWarpN; }
};

// sums += left * right, one instruction deep.
template <class Block>
__device__ inline void multiply_fragments(const typename Block::FragmentsA::Registers& left,
                                          const typename Block::FragmentsB::Registers& right,
                                          typename Block::Sums& sums) {
#pragma unroll
  for (int i = 0; i < Block::FragmentsA::kFragments; ++i) {
#pragma unroll
    for (int j = 0; j < Block::FragmentsB::kFragments; ++j) {
      simt::multiply_fragments<typename Block::T>(sums[i][j], left[i], right[j]);
    }
  }
}

template <class Loader>
inline constexpr bool kHasEdge = requires(const typename Loader::Parameters& p) {
  Loader::place(p, index_t(0));
};
template <class Loader>
__device__ inline bool is_interior(const typename Loader::Parameters& parameters, index_t first) {
  if constexpr (kHasEdge<Loader>) return Loader::place(parameters, first) == Place::interior;
  return true;
}

// The sums over k_begin .. k_end of the block's part of C.
template <class Tile, class LoaderA, class LoaderB, Place kPlace>
__device__ inline void tensor_core_sums(const BlockRange& range, const typename LoaderA::Parameters& parameters_a,
                                        const typename LoaderB::Parameters& parameters_b,
                                        typename TensorCoreBlock<Tile, LoaderA, LoaderB>::Sums& sums) {
  using Block = TensorCoreBlock<Tile, LoaderA, LoaderB>;
  constexpr int kDepth = kStepDepth<typename Block::T>, kStages = Tile::kStages, kStage = Block::kStageBytes;
  if (range.k_end <= range.k_begin) return;
  const int steps = int((range.k_end - range.k_begin + kDepth - 1) / kDepth);
  const int first_depth = int(range.k_end - range.k_begin - index_t(steps - 1) * kDepth);
  char* shared = simt::dynamic_shared<char>();
  LoaderA a(parameters_a, range.row, range);
  LoaderB b(parameters_b, range.column, range);
  const auto commit = [&](char* tile) {
    if constexpr (Block::kStaged) a.commit(tile), b.commit(tile + Block::TileA::kBytes);
  };
  a.fetch_first(shared, first_depth);
  b.fetch_first(shared + Block::TileA::kBytes, first_depth);
  commit(shared);
  simt::async_commit();
#pragma unroll
  for (int stage = 1; stage < kStages - 1; ++stage) {
    if (stage < steps)
      a.template fetch<kPlace>(shared + stage * kStage),
          b.template fetch<kPlace>(shared + stage * kStage + Block::TileA::kBytes);
    simt::async_commit();
  }
  simt::async_wait<kStages - 2>();
  __syncthreads();

  const typename Block::FragmentsA fragments_a(Block::warp_row());
  const typename Block::FragmentsB fragments_b(Block::warp_column());
  typename Block::FragmentsA::Registers left[2];
  typename Block::FragmentsB::Registers right[2];
  fragments_a.template load<0>(shared, left[0]);
  fragments_b.template load<0>(shared + Block::TileA::kBytes, right[0]);
  char *read = shared, *write = shared + (kStages - 1) * kStage;
  int unfetched = steps - (kStages - 1);
#pragma unroll 1
  do {
    fragments_a.template load<1>(read, left[1]);
    fragments_b.template load<1>(read + Block::TileA::kBytes, right[1]);
    const bool more = unfetched > 0;
    if (more) a.template fetch<kPlace>(write), b.template fetch<kPlace>(write + Block::TileA::kBytes);
    simt::async_commit();
    multiply_fragments<Block>(left[0], right[0], sums);
    if (more) commit(write);
    write = read;
    read = read == shared + (kStages - 1) * kStage ? shared : read + kStage;
    simt::async_wait<kStages - 2>();
    __syncthreads();
    // After the last step this reads what nobody multiplies: cheaper than not to.
    fragments_a.template load<0>(read, left[0]);
    fragments_b.template load<0>(read + Block::TileA::kBytes, right[0]);
    multiply_fragments<Block>(left[1], right[1], sums);
  } while (--unfetched > 1 - kStages);
}

// The last step of stores to fp32: four values at once, or what is left of the row.
__device__ inline void store_four(float* to, index_t left, bool aligned, const float (&values)[4]) {
  if (aligned && left >= 4) return simt::store_global(to, values);
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    if (i < left) to[i] = values[i];
  }
}

// Hands the sums to the store, four neighbours of a row at a time. A lane has two of each fragment of 8 columns; it
// gives one pair to its neighbour lane and gets the other half of its own four.
template <class Block, class Store>
__device__ inline void store_fragments(const typename Block::Sums& sums, const BlockRange& range, const Store& store) {
  const int t = int(threadIdx.x) % 4, g = int(threadIdx.x) % 32 / 4;
  const bool odd = t % 2 == 1;
  constexpr bool kPaired = Block::TileA::kPaired;  // an instruction's rows g and g + 8 are neighbours
  const index_t first_row = range.row + Block::warp_row() + (kPaired ? 2 * g : g);
  const index_t first_column = range.column + Block::warp_column() + t % 2 * 8 + t / 2 * 4;
  const auto store_rows = [&](int run, const auto& to) {
#pragma unroll
    for (int i = 0; i < Block::FragmentsA::kFragments; ++i) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float four[4];
        const float(&low)[4] = sums[i][2 * run], (&high)[4] = sums[i][2 * run + 1];
#pragma unroll
        for (int j = 0; j < 2; ++j) {
          const float given = odd ? low[half * 2 + j] : high[half * 2 + j];
          const float got = __shfl_xor_sync(0xFFFFFFFFu, given, 1);
          four[j] = odd ? got : low[half * 2 + j];
          four[2 + j] = odd ? high[half * 2 + j] : got;
        }
        to(first_row + i * 16 + half * (kPaired ? 1 : 8), four);
      }
    }
  };
#pragma unroll
  for (int run = 0; run < Block::FragmentsB::kFragments / 2; ++run) {
    store_rows(run, rows_of<4>(store, range.batch, first_column + run * 16));
  }
}

// Tiles that are never launched where there is no cp.async.
template <class Tile>
inline constexpr bool kAsyncOnly = requires {
  Tile::kAsyncOnly;
};

template <class Tile, class LoaderA, class LoaderB, class Store>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kBlocks)
    tensor_core_product_kernel(ProductGrid grid, typename LoaderA::Parameters parameters_a,
                               typename LoaderB::Parameters parameters_b, Store store) {
  using Block = TensorCoreBlock<Tile, LoaderA, LoaderB>;
  if constexpr (kAsyncOnly<Tile> && !simt::kAsyncCopy) return;
  BlockRange range = block_range<Tile>(grid);
  typename Block::Sums sums = {};
  if (is_interior<LoaderA>(parameters_a, range.row) && is_interior<LoaderB>(parameters_b, range.column)) {
    tensor_core_sums<Tile, LoaderA, LoaderB, Place::interior>(range, parameters_a, parameters_b, sums);
  } else if constexpr (kHasEdge<LoaderA> || kHasEdge<LoaderB>) {
    tensor_core_sums<Tile, LoaderA, LoaderB, Place::edge>(range, parameters_a, parameters_b, sums);
  }
  if (grid.splits > 1) range.batch += index_t(blockIdx.z % unsigned(grid.splits)) * grid.shape.batch;
  store_fragments<Block>(sums, range, store);
}

// C = A * B; `partial` is the store of a split's sums, [split, batch, m, n] in the workspace.
template <class Tile, class LoaderA, class LoaderB, class Store>
void tensor_core_product(const ProductGrid& grid, const typename LoaderA::Parameters& a,
                         const typename LoaderB::Parameters& b, const Store& store, cudaStream_t stream,
                         std::source_location where = std::source_location::current()) {
  require(grid.tiles_m * grid.tiles_n <= kMaxGridX && grid.shape.batch <= kMaxGridYZ, "tensor core product: m ",
          grid.shape.m, ", n ", grid.shape.n, ", batch ", grid.shape.batch,
          " need more blocks than a grid has; split the batch");
  const simt::Launch launch{grid.dimensions(), dim3(unsigned(Tile::kThreads)),
                            std::size_t(TensorCoreBlock<Tile, LoaderA, LoaderB>::kRingBytes), stream, where};
  simt::launch(tensor_core_product_kernel<Tile, LoaderA, LoaderB, Store>, launch, grid, a, b, store);
}

}  // namespace espalier::kernels
