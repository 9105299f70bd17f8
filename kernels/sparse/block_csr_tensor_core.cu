// A block of threads makes one row of blocks for 128 samples, 32 to a warp. With the kept columns packed side by side
// it is a dense product: cp.async gathers chunks of x (16 bytes of a sample) and of W into a ring of shared tiles of
// 64-byte rows (tensor_core_tile.h), ldmatrix reads fragments. The chunks' columns of a step are read one step before.
#include "kernels/sparse/block_csr_tensor_core.h"

#include "kernels/gemm_tensor_core.h"
#include "kernels/grid.h"
#include "kernels/require.h"
#include "kernels/sparse/narrow_operand.h"
#include "kernels/sparse/straight_epilogue.h"
#include "kernels/tensor_core_loaders.h"

namespace espalier::kernels {
namespace {

struct GatherTile {
  static constexpr int kM = 128, kWarpM = 32, kThreads = 128, kStages = 4;
};

template <class T, int kBlock>
struct GatherBlock {
  using View = BlockTensorView<T>;
  using TileA = OperandTile<T, GatherTile::kM, Along::depth>;
  using TileB = OperandTile<T, kBlock, Along::depth>;
  using FragmentsA = FragmentLoader<T, Side::a, GatherTile::kM, GatherTile::kWarpM, Along::depth>;
  static constexpr int kFragmentsB = kBlock / 8, kStage = TileA::kBytes + TileB::kBytes;
  static constexpr int kSharedBytes = kStage * GatherTile::kStages;
  using Sums = float[FragmentsA::kFragments][kFragmentsB][4];
};

// What one thread copies: a chunk of every 32nd sample, and of W one chunk at most.
template <class T, int kBlock>
class GatherFeed {
  using Block = GatherBlock<T, kBlock>;
  using View = BlockTensorView<T>;
  static constexpr int kRowsAtOnce = GatherTile::kThreads / View::kChunks, kPasses = GatherTile::kM / kRowsAtOnce;
  static_assert(kRowsAtOnce % 8 == 0, "the swizzle is the same in each pass");

 public:
  __device__ GatherFeed(const View& weight, const T* operand, index_t batch, index_t sample, int first, int steps)
      : steps_(steps) {
    const int row = int(threadIdx.x) / View::kChunks, chunk = int(threadIdx.x) % View::kChunks;
#pragma unroll
    for (int pass = 0; pass < kPasses; ++pass) {
      const index_t of = detail::clamp_index(sample + row + pass * kRowsAtOnce, batch - 1);
      rows_[pass] = operand + of * weight.padded_columns();
    }
    columns_ = weight.chunk_columns + index_t(first) * View::kChunks + chunk;
    values_ = weight.values + index_t(first) * kBlock * View::kDepth + threadIdx.x * View::kChunk;
    to_ = Block::TileA::offset(row, chunk);
    values_to_ = Block::TileA::kBytes + (row < kBlock ? Block::TileB::offset(row, chunk) : 0);
    column_ = *columns_;
  }

  // The next step; an empty group beyond the last.
  __device__ void request(char* stage) {
    if (steps_ > 0) {
#pragma unroll
      for (int pass = 0; pass < kPasses; ++pass) {
        simt::async_copy<kChunkBytes>(stage + to_ + pass * kRowsAtOnce * kStepBytes, rows_[pass] + column_);
      }
      if (int(threadIdx.x) < kBlock * View::kChunks) simt::async_copy<kChunkBytes>(stage + values_to_, values_);
    }
    simt::async_commit();
    columns_ += --steps_ > 0 ? View::kChunks : 0;
    values_ += kBlock * View::kDepth;
    column_ = *columns_;
  }

 private:
  const T *rows_[kPasses], *values_;
  const std::int32_t* columns_;
  int to_, values_to_, column_, steps_;
};

template <class T, int kBlock>
__device__ inline void multiply_stage(const char* stage, const typename GatherBlock<T, kBlock>::FragmentsA& fragments,
                                      typename GatherBlock<T, kBlock>::Sums& sums) {
  using Block = GatherBlock<T, kBlock>;
  const int lane = int(threadIdx.x) % 32;
  typename Block::FragmentsA::Registers left[2];
  fragments.template load<0>(stage, left[0]);
  fragments.template load<1>(stage, left[1]);
#pragma unroll
  for (int j = 0; j < Block::kFragmentsB; ++j) {
    unsigned right[4];  // eight rows of W, 64 bytes deep: two instructions
    simt::load_matrices<simt::MatrixOrder::as_stored>(
        right, stage + Block::TileA::kBytes + Block::TileB::offset(lane % 8, lane / 8) + j * 8 * kStepBytes);
#pragma unroll
    for (int i = 0; i < Block::FragmentsA::kFragments; ++i) {
      simt::multiply_fragments<T>(sums[i][j], left[0][i], {right[0], right[1]});
      simt::multiply_fragments<T>(sums[i][j], left[1][i], {right[2], right[3]});
    }
  }
}

template <class T, int kBlock>
__device__ inline void multiply_row_of_blocks(const BlockTensorView<T>& weight, const T* operand, index_t batch,
                                              index_t sample, index_t group,
                                              typename GatherBlock<T, kBlock>::Sums& sums) {
  using Block = GatherBlock<T, kBlock>;
  constexpr int kStages = GatherTile::kStages, kStage = Block::kStage;
  const int first = weight.step_offsets[group], steps = weight.step_offsets[group + 1] - first;
  if (steps == 0) return;
  char* const shared = simt::dynamic_shared<char>();
  GatherFeed<T, kBlock> feed(weight, operand, batch, sample, first, steps);
#pragma unroll
  for (int stage = 0; stage < kStages - 1; ++stage) feed.request(shared + stage * kStage);
  const typename Block::FragmentsA fragments(int(threadIdx.x) / 32 * GatherTile::kWarpM);
  char *read = shared, *write = shared + (kStages - 1) * kStage;
#pragma unroll 1
  for (int step = 0; step < steps; ++step) {
    simt::async_wait<kStages - 2>();
    __syncthreads();  // this step is there, and everybody is done with the last one
    feed.request(write);
    multiply_stage<T, kBlock>(read, fragments, sums);
    write = read;
    read = read == shared + (kStages - 1) * kStage ? shared : read + kStage;
  }
}

template <class T, int kBlock>
__global__ void __launch_bounds__(GatherTile::kThreads)
    block_csr_tensor_core_kernel(index_t batch, BlockTensorView<T> weight, const T* __restrict__ operand,
                                 StraightEpilogue epilogue, float* __restrict__ y) {
  if constexpr (simt::kAsyncCopy) {
    using Block = GatherBlock<T, kBlock>;
    const index_t first_sample = index_t(blockIdx.x) * GatherTile::kM, group = blockIdx.y;
    typename Block::Sums sums = {};
    multiply_row_of_blocks<T, kBlock>(weight, operand, batch, first_sample, group, sums);
    const int lane = int(threadIdx.x) % 32;
    const index_t sample = first_sample + int(threadIdx.x) / 32 * GatherTile::kWarpM + lane / 4;
    const index_t row = group * kBlock + lane % 4 * 2;
#pragma unroll
    for (int i = 0; i < Block::FragmentsA::kFragments; ++i) {
#pragma unroll
      for (int j = 0; j < Block::kFragmentsB; ++j) {
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          const index_t to_sample = sample + 16 * i + e / 2 * 8, to_row = row + 8 * j + e % 2;
          if (to_sample < batch && to_row < weight.rows) {
            y[to_sample * weight.rows + to_row] = epilogue(sums[i][j][e], to_row);
          }
        }
      }
    }
  }
}

template <class T, int kBlock>
void launch(index_t batch, const BlockTensorView<T>& weight, const T* operand, const BiasActivation& epilogue, float* y,
            cudaStream_t stream) {
  const dim3 grid(unsigned(ceil_div<index_t>(batch, GatherTile::kM)), unsigned(weight.groups()));
  simt::launch(block_csr_tensor_core_kernel<T, kBlock>,
               {grid, dim3(GatherTile::kThreads), std::size_t(GatherBlock<T, kBlock>::kSharedBytes), stream}, batch,
               weight, operand, StraightEpilogue(epilogue), y);
}

}  // namespace

template <class T>
void block_csr_tensor_core(index_t batch, const BlockTensorView<T>& weight, const float* x,
                           const BiasActivation& epilogue, float* y, T* operand, cudaStream_t stream) {
  require(batch > 0 && weight.rows > 0 && weight.columns > 0, "block_csr_tensor_core: batch ", batch, ", weight ",
          weight.rows, " x ", weight.columns, "; all must be at least 1");
  require(is_tensor_block(weight.block, weight.block), "block_csr_tensor_core: blocks of ", weight.block,
          "; there are kernels for 8, 16 and 32");
  require(has_tensor_cores_for(Precision::bf16),
          "block_csr_tensor_core: needs compute capability 8.0; take block_csr_spmm, which runs on ordinary cores");
  require(weight.groups() <= kMaxGridYZ, "block_csr_tensor_core: ", weight.rows,
          " rows need more blocks than a grid has");
  narrow_operand(batch, weight.columns, weight.padded_columns(), x, operand, stream);
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
