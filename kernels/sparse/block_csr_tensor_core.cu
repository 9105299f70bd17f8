// A block of threads makes one row of blocks for 64 samples; its warps share out the steps and their sums are added in
// the end, in fixed order. No operand passes through shared memory, for nothing there would be read twice: a lane's 128
// bits of x and of W, as they lie in memory, are fragments of two instructions. Which k an instruction multiplies then
// differs from the documented order, but alike in both operands. A step of a row of blocks of 32 costs a warp 32 HMMA,
// 8 loads of x, 4 of W and one of the chunks' columns; the loads of the next step run beside the HMMA of this one.
// HMMA in the main loop of sm_80: 37 % at blocks of 32, 26 at 16, 16 at 8. Modelled, W 4096 x 4096 with a fifth of its
// blocks, fp16, batch 256, us on A100 and RTX 4090: 24 and 19, 29 and 26, 43 and 43; bound by the L2 cache, of which
// each row of blocks reads its columns anew.
#include "kernels/sparse/block_csr_tensor_core.h"

#include <type_traits>

#include "kernels/gemm_tensor_core.h"
#include "kernels/grid.h"
#include "kernels/require.h"
#include "kernels/simt/async_copy.h"
#include "kernels/simt/tensor_core.h"
#include "kernels/sparse/narrow_operand.h"
#include "kernels/sparse/straight_epilogue.h"

namespace espalier::kernels {
namespace {

constexpr int kWarps = 4, kThreads = 32 * kWarps, kPanel = int(kNarrowPanel), kFragments = kPanel / 16;

template <class T, int kBlock>
struct BlockTile {
  using View = BlockTensorView<T>;
  static constexpr int kRowFragments = kBlock / 8;
  static constexpr int kPitch = kBlock == 8 ? 8 : kBlock + 8;  // of a sample's sums: lanes write to different banks
  static constexpr int kWarpSums = kPanel * kPitch;
  using Sums = float[kFragments][kRowFragments][4];
};

// What a lane holds of a step: of x the operands of two instructions for each 16 samples, of W 16 bytes of one row of
// each eight.
template <int kRowFragments>
struct StepOperands {
  uint4 x[2 * kFragments], w[kRowFragments];
};

// Brings a warp's steps, each kWarps after the last; the columns of a step are read one before.
template <class T, int kBlock>
class StepFeed {
  using View = BlockTensorView<T>;
  static constexpr unsigned kColumnBytes = kPanel * sizeof(T);  // of a column of x in a panel

 public:
  __device__ StepFeed(const View& weight, const T* panel, int first, int steps) : steps_(steps) {
    const int lane = int(threadIdx.x) % 32, step = first + int(threadIdx.x) / 32;
    x_ = reinterpret_cast<const char*>(panel) + lane / 4 * 16;
    w_ = weight.values + (index_t(step) * kBlock + lane / 4) * View::kDepth + lane % 4 * View::kChunk;
    columns_ = weight.chunk_columns + index_t(step) * View::kChunks + lane % 4;
    column_ = unsigned(*columns_);
  }
  // The next step; behind the last, that one again.
  __device__ void load(StepOperands<kBlock / 8>& to) {
    const uint4* x = reinterpret_cast<const uint4*>(x_ + std::uint64_t(column_) * kColumnBytes);
#pragma unroll
    for (int i = 0; i < 2 * kFragments; ++i) to.x[i] = x[8 * i];
#pragma unroll
    for (int j = 0; j < kBlock / 8; ++j) to.w[j] = *reinterpret_cast<const uint4*>(w_ + j * 8 * View::kDepth);
    steps_ -= kWarps;
    if (steps_ > 0) {
      columns_ += kWarps * View::kChunks;
      w_ += kWarps * kBlock * View::kDepth;
    }
    column_ = unsigned(*columns_);
  }

 private:
  const char* x_;
  const T* w_;
  const std::int32_t* columns_;
  unsigned column_;
  int steps_;
};

template <class T, int kRowFragments>
__device__ inline void multiply_step(const StepOperands<kRowFragments>& step,
                                     float (&sums)[kFragments][kRowFragments][4]) {
#pragma unroll
  for (int i = 0; i < kFragments; ++i) {
    const uint4 &first = step.x[2 * i], &second = step.x[2 * i + 1];
#pragma unroll
    for (int j = 0; j < kRowFragments; ++j) {
      const uint4& w = step.w[j];
      simt::multiply_fragments<T>(sums[i][j], {first.x, first.y, first.z, first.w}, {w.x, w.y});
      simt::multiply_fragments<T>(sums[i][j], {second.x, second.y, second.z, second.w}, {w.z, w.w});
    }
  }
}

// A warp's sums to shared memory, [samples, kPitch].
template <class Tile>
__device__ inline void put_sums(const typename Tile::Sums& sums, float* shared) {
  const int lane = int(threadIdx.x) % 32;
  float* to = shared + int(threadIdx.x) / 32 * Tile::kWarpSums + lane / 4 * Tile::kPitch + lane % 4 * 2;
#pragma unroll
  for (int i = 0; i < kFragments; ++i) {
#pragma unroll
    for (int j = 0; j < Tile::kRowFragments; ++j) {
      float* at = to + 16 * i * Tile::kPitch + 8 * j;
      *reinterpret_cast<float2*>(at) = make_float2(sums[i][j][0], sums[i][j][1]);
      *reinterpret_cast<float2*>(at + 8 * Tile::kPitch) = make_float2(sums[i][j][2], sums[i][j][3]);
    }
  }
}

template <class T, int kBlock>
__global__ void __launch_bounds__(kThreads)
    block_csr_tensor_core_kernel(index_t batch, BlockTensorView<T> weight, const T* __restrict__ operand,
                                 StraightEpilogue epilogue, float* __restrict__ y) {
  if constexpr (simt::kAsyncCopy || std::is_same_v<T, half>) {
    using Tile = BlockTile<T, kBlock>;
    const index_t first_sample = index_t(blockIdx.x) * kPanel, group = blockIdx.y;
    const int first = weight.step_offsets[group], steps = weight.step_offsets[group + 1] - first;
    typename Tile::Sums sums = {};
    const int warp = int(threadIdx.x) / 32;
    if (warp < steps) {
      StepFeed<T, kBlock> feed(weight, operand + first_sample * weight.padded_columns(), first, steps - warp);
      StepOperands<kBlock / 8> now, next;
      feed.load(now);
#pragma unroll 2
      for (int step = warp; step < steps; step += kWarps) {
        feed.load(next);
        multiply_step<T>(now, sums);
        now = next;
      }
    }
    float* shared = simt::dynamic_shared<float>();
    put_sums<Tile>(sums, shared);
    __syncthreads();
    for (int i = int(threadIdx.x); i < kPanel * kBlock; i += kThreads) {
      const index_t sample = first_sample + i / kBlock, row = group * kBlock + i % kBlock;
      if (sample >= batch || row >= weight.rows) continue;
      const float* from = shared + i / kBlock * Tile::kPitch + i % kBlock;
      float sum = 0.0f;
#pragma unroll
      for (int part = 0; part < kWarps; ++part) sum += from[part * Tile::kWarpSums];
      y[sample * weight.rows + row] = epilogue(sum, row);
    }
  }
}

template <class T, int kBlock>
void launch(index_t batch, const BlockTensorView<T>& weight, const T* operand, const BiasActivation& epilogue, float* y,
            cudaStream_t stream) {
  const dim3 grid(unsigned(ceil_div<index_t>(batch, kPanel)), unsigned(weight.groups()));
  const std::size_t bytes = sizeof(float) * kWarps * BlockTile<T, kBlock>::kWarpSums;
  simt::launch(block_csr_tensor_core_kernel<T, kBlock>, {grid, dim3(kThreads), bytes, stream}, batch, weight, operand,
               StraightEpilogue(epilogue), y);
}

}  // namespace

template <class T>
void block_csr_tensor_core(index_t batch, const BlockTensorView<T>& weight, const float* x,
                           const BiasActivation& epilogue, float* y, T* operand, cudaStream_t stream) {
  require(batch > 0 && weight.rows > 0 && weight.columns > 0, "block_csr_tensor_core: batch ", batch, ", weight ",
          weight.rows, " x ", weight.columns, "; all must be at least 1");
  require(is_tensor_block(weight.block, weight.block), "block_csr_tensor_core: blocks of ", weight.block,
          "; there are kernels for 8, 16 and 32");
  require(has_tensor_cores_for(kPrecisionOf<T>),
          "block_csr_tensor_core: tf32 and bf16 need compute capability 8.0, fp16 7.5; take block_csr_spmm, which runs "
          "on ordinary cores");
  require(weight.groups() <= kMaxGridYZ, "block_csr_tensor_core: ", weight.rows,
          " rows need more blocks than a grid has");
  narrow_panels(batch, weight.columns, weight.padded_columns(), x, operand, stream);
  if (weight.block == 8) launch<T, 8>(batch, weight, operand, epilogue, y, stream);
  if (weight.block == 16) launch<T, 16>(batch, weight, operand, epilogue, y, stream);
  if (weight.block == 32) launch<T, 32>(batch, weight, operand, epilogue, y, stream);
  finish_curved(epilogue, batch * weight.rows, y, stream);
}

template void block_csr_tensor_core(index_t, const BlockTensorView<half>&, const float*, const BiasActivation&, float*,
                                    half*, cudaStream_t);
template void block_csr_tensor_core(index_t, const BlockTensorView<bfloat16>&, const float*, const BiasActivation&,
                                    float*, bfloat16*, cudaStream_t);
template void block_csr_tensor_core(index_t, const BlockTensorView<float>&, const float*, const BiasActivation&, float*,
                                    float*, cudaStream_t);

}  // namespace espalier::kernels
