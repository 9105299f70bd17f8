// C [m, n] = A [m, k] * B [n, k]^T for a handful of rows: a dense layer at batch 1 to 8. B is read once and nothing is
// reused but A, so the bandwidth of memory is the bound (4 n k bytes) and a tile would waste most of its arithmetic:
// instead a team, a warp of a GPU or one thread of a CPU, walks along k of kColumns rows of B and sums their products
// with all rows of A. Lanes read neighbouring floats; the butterfly at the end has one order.
// One row by 1600 x 64, one Zen 5 core: 21 GFLOP/s by tiles, 75 by dot products, 66 by OpenBLAS.
#pragma once
#include "kernels/gemm_loaders.h"
#include "kernels/grid.h"
#include "kernels/shapes.h"
#include "kernels/simt/simt.h"
#include "kernels/simt/vectors.h"
#include "kernels/warp.h"

namespace espalier::kernels {

inline constexpr index_t kThinRows = 8;  // more of them fill a tile

struct ThinProduct {
  index_t m = 0, n = 0, k = 0;
  const float *a = nullptr, *b = nullptr;
};

namespace detail {

template <int kTeam, int kVector, int kRows, int kColumns>
__device__ inline void thin_sums(const float* const (&a)[kRows], const float* const (&b)[kColumns], index_t k,
                                 float (&sums)[kRows][kColumns]) {
  if constexpr (kTeam == 1) {
    simt::dot_products(a, b, k, sums);
  } else {
    for (index_t at = Team<kTeam>::lane() * kVector; at < k; at += kTeam * kVector) {
      float right[kColumns][kVector];
#pragma unroll
      for (int j = 0; j < kColumns; ++j) load_floats<kVector>(b[j] + at, right[j]);
#pragma unroll
      for (int i = 0; i < kRows; ++i) {
        float left[kVector];
        load_floats<kVector>(a[i] + at, left);
#pragma unroll
        for (int j = 0; j < kColumns; ++j) {
#pragma unroll
          for (int v = 0; v < kVector; ++v) sums[i][j] += left[v] * right[j][v];
        }
      }
    }
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
#pragma unroll
      for (int j = 0; j < kColumns; ++j) sums[i][j] = Team<kTeam>::reduce(sums[i][j], Sum{});
    }
  }
}

}  // namespace detail

// Teams take kColumns columns at a time; rows and columns beyond C repeat the last one and are dropped by the store.
template <int kTeam, int kVector, int kRows, int kColumns, class Store>
__global__ void thin_product_kernel(ThinProduct product, Store store) {
  const index_t groups = ceil_div<index_t>(product.n, kColumns), teams = index_t(gridDim.x) * blockDim.x / kTeam;
  const index_t team = index_t(blockIdx.x) * (blockDim.x / kTeam) + Team<kTeam>::index_in_block();
  const float *a[kRows], *b[kColumns];
#pragma unroll
  for (int i = 0; i < kRows; ++i) a[i] = product.a + detail::clamp_index(i, product.m - 1) * product.k;
  for (index_t group = team; group < groups; group += teams) {
#pragma unroll
    for (int j = 0; j < kColumns; ++j) {
      b[j] = product.b + detail::clamp_index(group * kColumns + j, product.n - 1) * product.k;
    }
    float sums[kRows][kColumns] = {};
    detail::thin_sums<kTeam, kVector>(a, b, product.k, sums);
    if (Team<kTeam>::leads()) {
#pragma unroll
      for (int i = 0; i < kRows; ++i) store(0, i, group * kColumns, sums[i]);
    }
  }
}

// A thread of a CPU gets 64 thousand multiply-adds, some microseconds; a GPU one warp for each pair of columns.
template <int kTeam, int kVector, int kRows, class Store>
void launch_thin_product(const ThinProduct& product, const Store& store, cudaStream_t stream) {
  constexpr int kColumns = kTeam == 1 ? 4 : 2, kThreads = kTeam == 1 ? 1 : 128;
  const index_t groups = ceil_div<index_t>(product.n, kColumns);
  const index_t blocks = kTeam == 1 ? std::min<index_t>(groups, 1 + product.m * product.n * product.k / 65536)
                                    : ceil_div<index_t>(groups, kThreads / kTeam);
  simt::launch(thin_product_kernel<kTeam, kVector, kRows, kColumns, Store>,
               {.grid = dim3(unsigned(std::min(blocks, kMaxGridX))), .block = dim3(kThreads), .stream = stream},
               product, store);
}

template <int kTeam, int kVector, class Store>
void thin_product(const ThinProduct& product, const Store& store, cudaStream_t stream) {
  if (product.m == 1) return launch_thin_product<kTeam, kVector, 1>(product, store, stream);
  if (product.m == 2) return launch_thin_product<kTeam, kVector, 2>(product, store, stream);
  if (product.m <= 4) return launch_thin_product<kTeam, kVector, 4>(product, store, stream);
  launch_thin_product<kTeam, kVector, 8>(product, store, stream);
}

}  // namespace espalier::kernels
