// The kept columns of x come as rows [k, samples] of the turned operand: 16 bits are read by ldmatrix, which transposes
// them; tf32 by four 32-bit loads, free of bank conflicts. A thread copies chunks of neighbouring k, whose columns are
// one 64- or 128-bit load, made one step ahead. Columns and addresses are 5 % of the main loop's instructions on sm_80,
// the copies, which 2:4 makes, too, 4 % more at groups of 128 rows and 8 % at 64. Modelled, W 4096 x 4096, fp16, batch
// 256: 128:2:8 32 us on A100 and RTX 4090, 64:2:8 34 and 32; turning x around 9 more.
#include "kernels/sparse/vnm_tensor_core.h"

#include "kernels/grid.h"
#include "kernels/require.h"
#include "kernels/simt/strip.h"
#include "kernels/sparse/narrow_operand.h"
#include "kernels/sparse/sparse_tensor_tile.h"
#include "kernels/sparse/two_four_tensor_core.h"

namespace espalier::kernels {
namespace {

// [k, samples] of a step in shared memory. Chunks change places by the row, so that what one load reads, eight rows of
// a chunk (16 bits) or four of two (tf32), lies in different banks.
template <class T, int kN>
struct ColumnTile {
  static constexpr int kPitch = kN * int(sizeof(T)), kRows = TwoFourTensorView<T>::kStep;
  static constexpr int kChunks = kPitch / kChunkBytes;
  __device__ static constexpr int swizzle(int row) { return sizeof(T) == 2 ? row % 8 : 2 * (row % 4); }
  __device__ static constexpr int offset(int row, int chunk) {
    return row * kPitch + (chunk ^ swizzle(row)) * kChunkBytes;
  }
};

// Brings the kept columns of a group of rows, step by step. A thread has a 16-byte chunk of every 128 bytes of its
// columns: these share an address, and a quarter of a warp copies whole lines.
template <class T, class Tile>
class ColumnFeed {
  using Shared = ColumnTile<T, Tile::kN>;
  static constexpr int kLanes = 8, kLine = kLanes * kChunkBytes, kLines = Shared::kPitch / kLine;
  static constexpr int kColumns = Shared::kRows * kLanes / Tile::kThreads;  // of a thread in a step
  static_assert(Shared::kChunks % kLanes == 0, "a column of a tile is whole lines");

 public:
  __device__ ColumnFeed(const std::int32_t* columns, int steps, const T* operand, int pitch)
      : steps_(steps), pitch_(unsigned(pitch) * unsigned(sizeof(T))) {
    const int row = int(threadIdx.x) / kLanes * kColumns, chunk = int(threadIdx.x) % kLanes;
    operand_ = reinterpret_cast<const char*>(operand + chunk * kChunk<T>);
    simt::forget_origin(operand_);
    columns_ = columns + row;
#pragma unroll
    for (int i = 0; i < kColumns; ++i) to_[i] = Shared::offset(row + i, chunk);
    read_columns();
  }

  __device__ void request(char* tile) {
#pragma unroll
    for (int i = 0; i < kColumns; ++i) {
      const char* from = operand_ + std::uint64_t(unsigned(next_[i])) * pitch_;
#pragma unroll
      for (int line = 0; line < kLines; ++line) {
        simt::async_copy<kChunkBytes>(tile + to_[i] + line * kLine, from + line * kLine);
      }
    }
    columns_ += --steps_ > 0 ? Shared::kRows : 0;
    read_columns();
  }

 private:
  __device__ void read_columns() { simt::load_together(columns_, next_); }

  const char* operand_;
  const std::int32_t* columns_;
  int to_[kColumns], steps_;
  std::int32_t next_[kColumns];
  unsigned pitch_;  // in bytes; unsigned, for a product of 32 by 32 bits in one instruction
};

// Eight samples of an instruction's depth.
template <class T, class Tile>
class ColumnFragments {
  using Shared = ColumnTile<T, Tile::kN>;
  static constexpr int kDepth = Shared::kRows / 2;  // of an instruction

 public:
  __device__ explicit ColumnFragments(int first) {
    const int lane = int(threadIdx.x) % 32;
    if constexpr (sizeof(T) == 2) {
      offset_ = Shared::offset(lane, first / kChunk<T>);
    } else {
      offset_ = Shared::offset(lane % 4, first / kChunk<T> + lane / 16) + lane / 4 % 4 * int(sizeof(T));
    }
  }
  template <int kInstruction>
  __device__ void load(const char* tile, int i, unsigned (&r)[4]) const {
    tile += kInstruction * kDepth * Shared::kPitch;
    if constexpr (sizeof(T) == 2) {
      simt::load_matrices<simt::MatrixOrder::transposed>(r, tile + (offset_ ^ i * kChunkBytes));
    } else {
      const char* from = tile + (offset_ ^ i * 2 * kChunkBytes);
#pragma unroll
      for (int m = 0; m < 4; ++m) r[m] = *reinterpret_cast<const unsigned*>(from + 4 * m * Shared::kPitch);
    }
  }

 private:
  int offset_;
};

struct VnmProduct {
  index_t batch;
  int pitch;  // samples of the operand
};

template <class T, class Tile>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kBlocks)
    vnm_tensor_core_kernel(VnmProduct product, VnmTensorView<T> weight, const T* __restrict__ operand,
                           StraightEpilogue epilogue, float* __restrict__ y) {
  if constexpr (simt::kAsyncCopy) {
    using Block = SparseBlock<T, Tile>;
    const index_t row = index_t(blockIdx.y) * Tile::kM, sample = index_t(blockIdx.x) * Tile::kN;
    typename Block::Sums sums = {};
    const std::int32_t* columns = weight.column_indices + row / weight.height * weight.kept.padded_columns();
    ColumnFeed<T, Tile> samples(columns, int(weight.kept.steps()), operand + sample, product.pitch);
    multiply_sparse_steps<T, Tile>(weight.kept, row, samples, ColumnFragments<T, Tile>(Block::warp_column()), sums);
    store_fragments(sums, {row + Block::warp_row(), sample + Block::warp_column(), weight.rows, product.batch},
                    epilogue, y);
  }
}

template <class T, int kRows>
void launch(index_t batch, const VnmTensorView<T>& weight, const T* operand, const BiasActivation& epilogue, float* y,
            cudaStream_t stream) {
  using Tile = SparseTile<kRows>;
  const index_t tiles = ceil_div<index_t>(weight.rows, Tile::kM);
  require(tiles <= kMaxGridYZ, "vnm_tensor_core: ", weight.rows, " rows need more blocks than a grid has");
  const VnmProduct product{batch, int(vnm_operand_size(batch, weight) / weight.columns)};
  simt::launch(vnm_tensor_core_kernel<T, Tile>,
               {dim3(unsigned(ceil_div<index_t>(batch, Tile::kN)), unsigned(tiles)), dim3(Tile::kThreads),
                std::size_t(SparseBlock<T, Tile>::kSharedBytes), stream},
               product, weight, operand, StraightEpilogue(epilogue), y);
}

}  // namespace

template <class T>
void vnm_tensor_core(index_t batch, const VnmTensorView<T>& weight, const float* x, const BiasActivation& epilogue,
                     float* y, T* operand, cudaStream_t stream) {
  require(batch > 0 && weight.rows > 0 && weight.columns > 0, "vnm_tensor_core: batch ", batch, ", weight ",
          weight.rows, " x ", weight.columns, "; all must be at least 1");
  require(is_vnm_height(weight.height), "vnm_tensor_core: groups of ", weight.height,
          " rows; there are kernels for multiples of 64");
  require(has_sparse_tensor_cores(),
          "vnm_tensor_core: sparse tensor cores begin with compute capability 8.0; take csr_spmm, which runs on "
          "ordinary cores");
  const index_t padded = vnm_operand_size(batch, weight) / weight.columns;
  narrow_columns({batch, weight.columns, padded}, x, operand, stream);
  if (weight.height % 128 == 0) {
    launch<T, 128>(batch, weight, operand, epilogue, y, stream);
  } else {
    launch<T, 64>(batch, weight, operand, epilogue, y, stream);
  }
  finish_curved(epilogue, batch * weight.rows, y, stream);
}

template void vnm_tensor_core(index_t, const VnmTensorView<half>&, const float*, const BiasActivation&, float*, half*,
                              cudaStream_t);
template void vnm_tensor_core(index_t, const VnmTensorView<bfloat16>&, const float*, const BiasActivation&, float*,
                              bfloat16*, cudaStream_t);
template void vnm_tensor_core(index_t, const VnmTensorView<float>&, const float*, const BiasActivation&, float*, float*,
                              cudaStream_t);

}  // namespace espalier::kernels
