// Blocks for tensor cores from block CSR and back: a team (a warp on a GPU, one thread on a CPU) walks the chunks of a
// row of blocks. Bound by one read and one write of the blocks.
#include "kernels/grid.h"
#include "kernels/require.h"
#include "kernels/sparse/block_csr_tensor_core.h"
#include "kernels/sparse/scan_groups.h"

namespace espalier::kernels {
namespace {

constexpr int kLanes = simt::kContiguousElements ? 1 : 32;  // threads that walk a row of blocks together
constexpr int kTeams = simt::kContiguousElements ? 1 : 8;   // rows of blocks of a block of threads

template <class T>
struct PaddedSteps {
  const std::int32_t* offsets;
  int chunks;  // of a block
  __device__ std::int32_t operator()(int group) const {
    constexpr int kChunks = BlockTensorView<T>::kChunks;
    return ((offsets[group + 1] - offsets[group]) * chunks + kChunks - 1) / kChunks;
  }
};

template <class T>
__global__ void block_tensor_fill_kernel(BlockCsrView blocks, BlockTensorView<T> to,
                                         std::int32_t* __restrict__ chunk_columns, T* __restrict__ values) {
  using View = BlockTensorView<T>;
  const int group = int(blockIdx.x) * kTeams + int(threadIdx.y), size = int(to.block), per_block = size / View::kChunk;
  if (group >= to.groups()) return;
  const int from = blocks.row_offsets[group], kept = (blocks.row_offsets[group + 1] - from) * per_block;
  const int first = to.step_offsets[group], chunks = (to.step_offsets[group + 1] - first) * View::kChunks;
  for (int chunk = int(threadIdx.x); chunk < chunks; chunk += kLanes) {
    const int source = chunk < kept ? chunk : kept - 1, part = source % per_block * View::kChunk;
    const index_t block = from + source / per_block, step = first + chunk / View::kChunks;
    chunk_columns[step * View::kChunks + chunk % View::kChunks] = blocks.column_indices[block] * size + part;
    for (int row = 0; row < size; ++row) {
      const float* values_from = blocks.values + (block * size + row) * size + part;
      T* values_to = values + (step * size + row) * View::kDepth + chunk % View::kChunks * View::kChunk;
      for (int i = 0; i < View::kChunk; ++i) {
        const float value = chunk < kept ? values_from[i] : 0.0f;
        values_to[i] = from_float<T>(sizeof(T) == 4 ? round_to_tf32(value) : value);
      }
    }
  }
}

// Zeros are left out: the cleared weight has them, and padding repeats a column.
template <class T>
__global__ void block_tensor_decode_kernel(BlockTensorView<T> view, float* __restrict__ weight) {
  using View = BlockTensorView<T>;
  const int group = int(blockIdx.x) * kTeams + int(threadIdx.y), size = int(view.block);
  if (group >= view.groups()) return;
  const index_t end = index_t(view.step_offsets[group + 1]) * size * View::kDepth;
  for (index_t i = index_t(view.step_offsets[group]) * size * View::kDepth + threadIdx.x; i < end; i += kLanes) {
    const index_t step = i / (size * View::kDepth), row = group * size + i / View::kDepth % size;
    const int k = int(i % View::kDepth);
    const index_t column = view.chunk_columns[step * View::kChunks + k / View::kChunk] + k % View::kChunk;
    const float value = to_float(view.values[i]);
    if (value != 0.0f && row < view.rows && column < view.columns) weight[row * view.columns + column] = value;
  }
}

simt::Launch groups_grid(index_t groups, cudaStream_t stream,
                         std::source_location where = std::source_location::current()) {
  return {dim3(unsigned(ceil_div<index_t>(groups, kTeams))), dim3(kLanes, kTeams), 0, stream, where};
}

}  // namespace

template <class T>
void block_tensor_steps(const BlockCsrView& blocks, std::int32_t* step_offsets, cudaStream_t stream) {
  require(is_tensor_block(blocks.block_rows, blocks.block_columns), "block_tensor_steps: blocks are ",
          blocks.block_rows, " x ", blocks.block_columns, "; tensor cores take 8 x 8, 16 x 16 and 32 x 32");
  scan_groups(blocks.block_grid_rows(),
              PaddedSteps<T>{blocks.row_offsets, int(blocks.block_columns) / BlockTensorView<T>::kChunk}, step_offsets,
              stream);
}

template <class T>
void block_tensor_fill(const BlockCsrView& blocks, const BlockTensorView<T>& layout, std::int32_t* chunk_columns,
                       T* values, cudaStream_t stream) {
  simt::launch(block_tensor_fill_kernel<T>, groups_grid(layout.groups(), stream), blocks, layout, chunk_columns,
               values);
}

template <class T>
void block_tensor_decode(const BlockTensorView<T>& view, float* weight, cudaStream_t stream) {
  const auto bytes = sizeof(float) * std::size_t(view.rows * view.columns);
  const cudaError_t status = cudaMemsetAsync(weight, 0, bytes, stream);
  if (status != cudaSuccess) throw simt::LaunchError(std::string("decode: memset: ") + cudaGetErrorString(status));
  simt::launch(block_tensor_decode_kernel<T>, groups_grid(view.groups(), stream), view, weight);
}

template void block_tensor_steps<half>(const BlockCsrView&, std::int32_t*, cudaStream_t);
template void block_tensor_steps<bfloat16>(const BlockCsrView&, std::int32_t*, cudaStream_t);
template void block_tensor_steps<float>(const BlockCsrView&, std::int32_t*, cudaStream_t);
template void block_tensor_fill(const BlockCsrView&, const BlockTensorView<half>&, std::int32_t*, half*, cudaStream_t);
template void block_tensor_fill(const BlockCsrView&, const BlockTensorView<bfloat16>&, std::int32_t*, bfloat16*,
                                cudaStream_t);
template void block_tensor_fill(const BlockCsrView&, const BlockTensorView<float>&, std::int32_t*, float*,
                                cudaStream_t);
template void block_tensor_decode(const BlockTensorView<half>&, float*, cudaStream_t);
template void block_tensor_decode(const BlockTensorView<bfloat16>&, float*, cudaStream_t);
template void block_tensor_decode(const BlockTensorView<float>&, float*, cudaStream_t);

}  // namespace espalier::kernels
