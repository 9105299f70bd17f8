// gemm_pair() on a CPU: blocks of the first product, of the second, and of the row sums, in one launch. nvcc never
// instantiates what is here.
#pragma once
#include <algorithm>
#include <cstring>

#include "kernels/gemm_epilogue.h"
#include "kernels/gemm_operands.h"

namespace espalier::kernels {

inline constexpr int kSummedRows = 64;  // of a transposed A, by a block

struct HostProduct {
  ProductGrid grid;
  MatrixView a, b;
  SplitSums splits;
  EpilogueStore<float> store;

  index_t blocks() const { return grid.tiles_m * grid.tiles_n * grid.splits; }
};

template <class Tile, class LoaderA, class LoaderB>
void multiply_host_block(const HostProduct& product, unsigned index) {
  const unsigned tiles = unsigned(product.grid.tiles_m * product.grid.tiles_n);
  if (product.grid.splits > 1) {
    return multiply_split<Tile, LoaderA, LoaderB>(product.grid, index % tiles, index / tiles, product.a, product.b,
                                                  product.splits, product.store);
  }
  const BlockRange range = block_range<Tile>(product.grid, index, 0);
  multiply_and_store<Tile, LoaderA, LoaderB>(product.grid.shape, range, 0, product.a, product.b, product.store);
}

// sums [m] of the rows of A [m, k], which lies in memory as [k, m].
inline void sum_transposed_rows(const MatrixView& a, index_t k, index_t first, float* sums) {
  const int count = int(std::min<index_t>(kSummedRows, a.width - first));
  const float* from = a.data + first;
  float sum[kSummedRows] = {};
  for (index_t i = 0; i < k; ++i, from += a.leading) {
    if (count == kSummedRows) {
      for (int row = 0; row < kSummedRows; ++row) sum[row] += from[row];
    } else {
      for (int row = 0; row < count; ++row) sum[row] += from[row];
    }
  }
  std::memcpy(sums + first, sum, std::size_t(count) * sizeof(float));
}

template <class Tile>
__global__ void host_pair_kernel(HostProduct first, HostProduct second, float* row_sums) {
  using DeepA = DeepLoader<Tile, Side::a, 1>;
  using WideA = WideLoader<Tile, Side::a, 1>;
  using WideB = WideLoader<Tile, Side::b, 1>;
  const index_t block = blockIdx.x, products = first.blocks() + second.blocks();
  if (block < first.blocks()) {
    multiply_host_block<Tile, DeepA, WideB>(first, unsigned(block));
  } else if (block < products) {
    multiply_host_block<Tile, WideA, WideB>(second, unsigned(block - first.blocks()));
  } else {
    sum_transposed_rows(second.a, second.grid.shape.k, (block - products) * kSummedRows, row_sums);
  }
}

inline ProductShape product_shape(const GemmCall& call) {
  return {.m = call.shape.m, .n = call.shape.n, .k = call.shape.k};
}

template <class Tile>
HostProduct host_product(const GemmCall& call, Workspace workspace) {
  const ProductShape shape = product_shape(call);
  const ProductGrid grid = product_grid<Tile>(shape, workspace.floats);
  const GemmOperands in = gemm_operands(call);
  return {grid, in.a, in.b, split_sums(grid, workspace), epilogue_store(call.shape, call.epilogue, call.c)};
}

template <class Tile>
void multiply_pair_on_host(const GemmCall& first, const GemmCall& second, Workspace workspace, cudaStream_t stream) {
  const HostProduct one = host_product<Tile>(first, workspace);
  Workspace rest = workspace;
  if (rest.data != nullptr) rest.data += one.grid.workspace_floats();
  rest.floats -= one.grid.workspace_floats();
  if (rest.arrivals != nullptr) rest.arrivals += one.grid.tiles_m * one.grid.tiles_n;
  HostProduct two = host_product<Tile>(second, rest);
  if ((one.grid.tiles_m * one.grid.tiles_n) + (two.grid.tiles_m * two.grid.tiles_n) > kArrivals) {
    two.splits.arrivals = nullptr;
  }
  float* row_sums = second.epilogue.row_sums;
  const index_t sums = row_sums == nullptr ? 0 : ceil_div<index_t>(second.shape.m, kSummedRows);
  constexpr int kFloats = std::max(kSharedFloats<Tile, DeepLoader<Tile, Side::a, 1>, WideLoader<Tile, Side::b, 1>>,
                                   kSharedFloats<Tile, WideLoader<Tile, Side::a, 1>, WideLoader<Tile, Side::b, 1>>);
  simt::launch(host_pair_kernel<Tile>,
               {dim3(unsigned(one.blocks() + two.blocks() + sums)), dim3(1), kFloats * sizeof(float), stream}, one, two,
               row_sums);
  for (const HostProduct& product : {one, two}) {
    if (product.grid.splits > 1 && product.splits.arrivals == nullptr) {
      sum_splits(product.grid, product.splits.store.partial, product.store, stream);
    }
  }
}

}  // namespace espalier::kernels
