// The weight gradient that several blocks left in parts, and their sum in ascending order. Costs parts * size floats
// read, out of the L2 cache, and is bound by latency: many loads are in flight.
//
// Where the input gradient is wanted too, the sum rides in its launch, as further blocks behind those of the product:
// they fill what multiprocessors that product leaves idle, and a node of a graph is saved. Without an input gradient
// (a network's first layer) the sum is a launch of its own. Its last block alone could add all parts instead, but one
// multiprocessor reads 64 bytes a clock at most: 128 parts of lenet-5's first layer, 520 floats, take it some 4,000
// clocks, no less than the launch that this would save; the 25,050 of the second layer fifty times as long.
// Device code: for .cu files only.
#pragma once
#include <algorithm>

#include "kernels/conv2d_gradient.h"
#include "kernels/grid.h"
#include "kernels/warp.h"

namespace espalier::kernels {

// parts == 1: the gradient is where it belongs, nothing is left to add.
struct WeightParts {
  const float* partial = nullptr;  // [parts, step], each a dw and, behind it, a db
  float *dw = nullptr, *db = nullptr;
  index_t weights = 0, size = 0;  // of dw, of both
  index_t parts = 1, step = 0;
  bool by_panels = false;  // added by blocks of one thread, in the cpu build

  // A block adds a piece: so many neighbouring floats of all parts.
  static constexpr int kChains = 8, kRuns = 4, kBlockFloats = kRuns * kWarp, kPanelFloats = 1024;
  static constexpr std::size_t kSharedBytes = sizeof(float) * kChains * kBlockFloats;
  __host__ __device__ int piece_floats() const { return by_panels ? kPanelFloats : kBlockFloats; }
  __host__ __device__ index_t pieces() const { return parts == 1 ? 0 : ceil_div<index_t>(size, piece_floats()); }

  __device__ void add_piece(index_t piece, float* shared) const {
    if (simt::kEmulated && by_panels) {
      add_by_one_thread(piece * kPanelFloats);
    } else {
      add_by_warps(piece * kBlockFloats, shared);
    }
  }

 private:
  __device__ float& result(index_t i) const { return i < weights ? dw[i] : db[i - weights]; }

  __device__ void add_by_one_thread(index_t first) const {
    float sums[kPanelFloats] = {};
    const int count = int(size - first < kPanelFloats ? size - first : kPanelFloats);
    for (index_t part = 0; part < parts; ++part) {
      const float* from = partial + part * step + first;
      for (int i = 0; i < count; ++i) sums[i] += from[i];
    }
    for (int i = 0; i < count; ++i) result(first + i) = sums[i];
  }

  // A chain is the sum of every kChains-th part; then the chains are added in ascending order. However many warps share
  // the chains, the sums are the same.
  __device__ void add_by_warps(index_t first, float* shared) const {
    const int lane = int(threadIdx.x) % kWarp, warps = int(blockDim.x) / kWarp;
    const int count = int(size - first < kBlockFloats ? size - first : kBlockFloats);
    for (int chain = int(threadIdx.x) / kWarp; chain < kChains; chain += warps) {
      float sums[kRuns] = {};
      const float* from = partial + chain * step + first + lane;
#pragma unroll 4
      for (index_t part = chain; part < parts; part += kChains, from += kChains * step) {
#pragma unroll
        for (int run = 0; run < kRuns; ++run) {
          if (lane + run * kWarp < count) sums[run] += from[run * kWarp];
        }
      }
#pragma unroll
      for (int run = 0; run < kRuns; ++run) shared[chain * kBlockFloats + run * kWarp + lane] = sums[run];
    }
    __syncthreads();
    for (int i = int(threadIdx.x); i < count; i += int(blockDim.x)) {
      float sum = shared[i];
#pragma unroll
      for (int chain = 1; chain < kChains; ++chain) sum += shared[chain * kBlockFloats + i];
      result(first + i) = sum;
    }
  }
};

// The sum within the launch of another product, of `own_blocks` along x, which come first.
struct JoinedSum {
  WeightParts parts;

  simt::Launch join(simt::Launch launch) const {
    if (parts.pieces() == 0) return launch;
    launch.grid.x += unsigned(ceil_div<index_t>(parts.pieces(), index_t(launch.grid.y) * launch.grid.z));
    if (!parts.by_panels) launch.dynamic_shared_bytes = std::max(launch.dynamic_shared_bytes, parts.kSharedBytes);
    return launch;
  }

  // True for the blocks behind, which have then done their work.
  __device__ bool takes_block(index_t own_blocks) const {
    if (blockIdx.x < own_blocks) return false;
    const index_t row = index_t(blockIdx.z) * gridDim.y + blockIdx.y;
    const index_t piece = row * (gridDim.x - own_blocks) + (blockIdx.x - own_blocks);
    if (piece < parts.pieces()) parts.add_piece(piece, simt::dynamic_shared<float>());
    return true;
  }
};

// What is left to add, if anything, in a launch of its own.
void sum_weight_parts(const WeightParts& parts, cudaStream_t stream);

// conv2d_backward_weight() and conv2d_pool_backward_weight() up to the sum.
WeightParts conv2d_backward_weight_parts(const Conv2dShape& shape, const float* x, const float* dy, float* dw,
                                         float* db, Workspace workspace, cudaStream_t stream, Conv2dMethod method);
WeightParts conv2d_pool_backward_weight_parts(const Conv2dShape& shape, const float* x, const PooledGradient& dy,
                                              float* dw, float* db, Workspace workspace, cudaStream_t stream,
                                              Conv2dMethod method);

// conv2d_backward_input() and conv2d_pool_backward_input() with that sum. The methods must be those of the parts, the
// workspace another piece of memory.
void conv2d_backward_input_and_sum(const Conv2dShape& shape, const float* dy, const float* w, float* dx,
                                   const WeightParts& parts, Workspace workspace, cudaStream_t stream,
                                   Conv2dMethod method);
void conv2d_pool_backward_input_and_sum(const Conv2dShape& shape, const PooledGradient& dy, const float* w, float* dx,
                                        const WeightParts& parts, cudaStream_t stream, Conv2dMethod method);

}  // namespace espalier::kernels
