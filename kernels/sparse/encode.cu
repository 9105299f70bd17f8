// CSR and block CSR from a dense weight, whose rows or rows of blocks are walked as encode_rows.h says: twice over the
// weight, about 8 bytes an element.
#include "kernels/sparse/encode.h"

#include "kernels/require.h"
#include "kernels/sparse/encode_rows.h"

namespace espalier::kernels {
namespace {

void require_encodable(const char* format, const WeightShape& shape) {
  require(shape.rows > 0 && shape.columns > 0, format, ": the weight is ", shape.rows, " x ", shape.columns,
          "; both must be at least 1");
  require(shape.size() <= INT32_MAX, format, ": the weight has ", shape.size(),
          " elements, row offsets of 32 bits count to ", INT32_MAX, "; split the layer");
}

struct NonzeroElement {
  const float* weight;
  index_t columns;
  __device__ bool operator()(int row, int column) const { return weight[row * columns + column] != 0.0f; }
};

struct WriteElement {
  const float* weight;
  index_t columns;
  std::int32_t* column_indices;
  float* values;
  __device__ void operator()(int position, int row, int column) const {
    column_indices[position] = column;
    values[position] = weight[row * columns + column];
  }
};

// The weight seen as blocks; what lies outside of it is zero.
struct BlockedWeight {
  WeightShape shape;
  BlockShape block;
  const float* weight;

  int grid_rows() const { return int(ceil_div(shape.rows, block.rows)); }
  int grid_columns() const { return int(ceil_div(shape.columns, block.columns)); }
  // visit(i, j, value) for the elements of one block
  template <class Visit>
  __device__ void each(int block_row, int block_column, Visit visit) const {
    for (index_t i = 0; i < block.rows; ++i) {
      for (index_t j = 0; j < block.columns; ++j) {
        const index_t row = block_row * block.rows + i, column = block_column * block.columns + j;
        visit(i, j, row < shape.rows && column < shape.columns ? weight[row * shape.columns + column] : 0.0f);
      }
    }
  }
};

struct NonzeroBlock {
  BlockedWeight blocks;
  __device__ bool operator()(int block_row, int block_column) const {
    bool any = false;
    blocks.each(block_row, block_column, [&](index_t, index_t, float value) { any = any || value != 0.0f; });
    return any;
  }
};

struct WriteBlock {
  BlockedWeight blocks;
  std::int32_t* column_indices;
  float* values;
  __device__ void operator()(int position, int block_row, int block_column) const {
    column_indices[position] = block_column;
    const index_t width = blocks.block.columns;
    float* to = values + position * blocks.block.rows * width;
    blocks.each(block_row, block_column, [&](index_t i, index_t j, float value) { to[i * width + j] = value; });
  }
};

__global__ void csr_decode_kernel(CsrView view, float* __restrict__ weight) {
  const int row = int(blockIdx.x) * kRowTeams + int(threadIdx.y);
  if (row >= view.rows) return;
  for (int i = view.row_offsets[row] + int(threadIdx.x); i < view.row_offsets[row + 1]; i += kRowLanes) {
    weight[row * view.columns + view.column_indices[i]] = view.values[i];
  }
}

__global__ void block_csr_decode_kernel(BlockCsrView view, float* __restrict__ weight) {
  const int block_row = int(blockIdx.x) * kRowTeams + int(threadIdx.y);
  if (block_row >= view.block_grid_rows()) return;
  const index_t block_size = view.block_rows * view.block_columns;
  for (int b = view.row_offsets[block_row]; b < view.row_offsets[block_row + 1]; ++b) {
    for (index_t i = threadIdx.x; i < block_size; i += kRowLanes) {
      const index_t row = block_row * view.block_rows + i / view.block_columns;
      const index_t column = view.column_indices[b] * view.block_columns + i % view.block_columns;
      if (row < view.rows && column < view.columns)
        weight[row * view.columns + column] = view.values[b * block_size + i];
    }
  }
}

void clear(index_t count, float* weight, cudaStream_t stream) {
  const cudaError_t status = cudaMemsetAsync(weight, 0, sizeof(float) * std::size_t(count), stream);
  if (status != cudaSuccess) throw simt::LaunchError(std::string("decode: memset: ") + cudaGetErrorString(status));
}

}  // namespace

void csr_count(const WeightShape& shape, const float* weight, std::int32_t* row_offsets, cudaStream_t stream) {
  require_encodable("csr_count", shape);
  count_and_scan(int(shape.rows), int(shape.columns), NonzeroElement{weight, shape.columns}, row_offsets, stream);
}

void csr_fill(const WeightShape& shape, const float* weight, const std::int32_t* row_offsets,
              std::int32_t* column_indices, float* values, cudaStream_t stream) {
  require_encodable("csr_fill", shape);
  simt::launch(fill_kernel<NonzeroElement, WriteElement>, rows_grid(shape.rows, stream), int(shape.rows),
               int(shape.columns), NonzeroElement{weight, shape.columns}, row_offsets,
               WriteElement{weight, shape.columns, column_indices, values});
}

void csr_decode(const CsrView& view, float* weight, cudaStream_t stream) {
  clear(view.rows * view.columns, weight, stream);
  simt::launch(csr_decode_kernel, rows_grid(view.rows, stream), view, weight);
}

void block_csr_count(const WeightShape& shape, const BlockShape& block, const float* weight, std::int32_t* row_offsets,
                     cudaStream_t stream) {
  require_encodable("block_csr_count", shape);
  require(block.rows > 0 && block.columns > 0, "block_csr_count: blocks are ", block.rows, " x ", block.columns,
          "; both must be at least 1");
  const BlockedWeight blocks{shape, block, weight};
  count_and_scan(blocks.grid_rows(), blocks.grid_columns(), NonzeroBlock{blocks}, row_offsets, stream);
}

void block_csr_fill(const WeightShape& shape, const BlockShape& block, const float* weight,
                    const std::int32_t* row_offsets, std::int32_t* column_indices, float* values, cudaStream_t stream) {
  const BlockedWeight blocks{shape, block, weight};
  simt::launch(fill_kernel<NonzeroBlock, WriteBlock>, rows_grid(blocks.grid_rows(), stream), blocks.grid_rows(),
               blocks.grid_columns(), NonzeroBlock{blocks}, row_offsets, WriteBlock{blocks, column_indices, values});
}

void block_csr_decode(const BlockCsrView& view, float* weight, cudaStream_t stream) {
  clear(view.rows * view.columns, weight, stream);
  simt::launch(block_csr_decode_kernel, rows_grid(view.block_grid_rows(), stream), view, weight);
}

}  // namespace espalier::kernels
