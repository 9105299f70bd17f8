// One block scans the padded counts of all groups, which are few beside the weights; then a team (a warp on a GPU, one
// thread on a CPU) copies the vectors of a group and fills it up.
#include "kernels/sparse/encode_vector_nm.h"

#include "kernels/grid.h"
#include "kernels/require.h"
#include "kernels/sparse/scan_groups.h"

namespace espalier::kernels {
namespace {

constexpr int kLanes = simt::kContiguousElements ? 1 : 32;  // threads that copy one group together
constexpr int kTeams = simt::kContiguousElements ? 1 : 8;   // groups of a block of threads

// The vectors of a group, filled up.
struct PaddedVectors {
  const std::int32_t* offsets;
  __device__ std::int32_t operator()(int group) const {
    constexpr int kAtOnce = VectorNmView::kAtOnce;
    return (offsets[group + 1] - offsets[group] + kAtOnce - 1) / kAtOnce * kAtOnce;
  }
};

__global__ void vector_nm_fill_kernel(BlockCsrView blocks, VectorNmView to, std::int32_t* __restrict__ column_indices,
                                      float* __restrict__ values) {
  const int group = int(blockIdx.x) * kTeams + int(threadIdx.y);
  if (group >= blocks.block_grid_rows()) return;
  const int from = blocks.row_offsets[group], kept = blocks.row_offsets[group + 1] - from;
  const int first = to.group_offsets[group], count = to.group_offsets[group + 1] - first, height = int(to.height);
  for (int i = int(threadIdx.x); i < count; i += kLanes) {
    column_indices[first + i] = blocks.column_indices[from + (i < kept ? i : kept - 1)];
  }
  for (index_t i = threadIdx.x; i < index_t(count) * height; i += kLanes) {
    values[index_t(first) * height + i] = i < index_t(kept) * height ? blocks.values[index_t(from) * height + i] : 0.0f;
  }
}

// Zeros are left out: the cleared weight has them, and padding repeats a column.
__global__ void vector_nm_decode_kernel(VectorNmView view, float* __restrict__ weight) {
  const int group = int(blockIdx.x) * kTeams + int(threadIdx.y), height = int(view.height);
  if (group >= view.groups()) return;
  const index_t end = index_t(view.group_offsets[group + 1]) * height;
  for (index_t i = index_t(view.group_offsets[group]) * height + threadIdx.x; i < end; i += kLanes) {
    const index_t row = index_t(group) * height + i % height;
    const float value = view.values[i];
    if (value != 0.0f && row < view.rows) weight[row * view.columns + view.column_indices[i / height]] = value;
  }
}

simt::Launch groups_grid(index_t groups, cudaStream_t stream,
                         std::source_location where = std::source_location::current()) {
  return {dim3(unsigned(ceil_div<index_t>(groups, kTeams))), dim3(kLanes, kTeams), 0, stream, where};
}

}  // namespace

void vector_nm_pad(const BlockCsrView& blocks, std::int32_t* group_offsets, cudaStream_t stream) {
  require(blocks.block_columns == 1, "vector_nm_pad: blocks are ", blocks.block_rows, " x ", blocks.block_columns,
          "; vectors are one column wide");
  scan_groups(blocks.block_grid_rows(), PaddedVectors{blocks.row_offsets}, group_offsets, stream);
}

void vector_nm_fill(const BlockCsrView& blocks, const VectorNmView& layout, std::int32_t* column_indices, float* values,
                    cudaStream_t stream) {
  require(blocks.block_rows == layout.height && blocks.block_columns == 1, "vector_nm_fill: blocks are ",
          blocks.block_rows, " x ", blocks.block_columns, ", vectors ", layout.height, " x 1");
  simt::launch(vector_nm_fill_kernel, groups_grid(layout.groups(), stream), blocks, layout, column_indices, values);
}

void vector_nm_decode(const VectorNmView& view, float* weight, cudaStream_t stream) {
  const auto bytes = sizeof(float) * std::size_t(view.rows * view.columns);
  const cudaError_t status = cudaMemsetAsync(weight, 0, bytes, stream);
  if (status != cudaSuccess) throw simt::LaunchError(std::string("decode: memset: ") + cudaGetErrorString(status));
  simt::launch(vector_nm_decode_kernel, groups_grid(view.groups(), stream), view, weight);
}

}  // namespace espalier::kernels
