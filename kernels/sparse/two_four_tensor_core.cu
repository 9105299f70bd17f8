// Samples come as rows of x: two tiles of 64-byte rows a step (tensor_core_tile.h), read by ldmatrix as they are
// stored. A step costs a warp 32 mma.sp, 16 ldmatrix, 8 cp.async a thread and one barrier.
#include "kernels/sparse/two_four_tensor_core.h"

#include "kernels/gemm_tensor_core.h"
#include "kernels/grid.h"
#include "kernels/require.h"
#include "kernels/sparse/narrow_operand.h"
#include "kernels/sparse/sparse_tensor_tile.h"

namespace espalier::kernels {
namespace {

using Tile = SparseTile<128>;
static_assert(Tile::kM == TwoFourTensorView<half>::kTile, "no tile reads beyond the padded rows");

template <class T>
class SampleRows {
 public:
  __device__ SampleRows(const NarrowView<T>& x, index_t first) : rows_(x, first, BlockRange{}) {}
  __device__ void request(char* tile) {
    rows_.template fetch<Place::interior>(tile);
    rows_.template fetch<Place::interior>(tile + Tile::kN * kStepBytes);  // the second instruction's
  }

 private:
  ChunkLoader<Tile, Side::b, T, Along::depth, false> rows_;
};

template <class T>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kBlocks)
    two_four_tensor_core_kernel(TwoFourTensorView<T> weight, NarrowView<T> x, StraightEpilogue epilogue,
                                float* __restrict__ y) {
  if constexpr (simt::kAsyncCopy) {
    using Block = SparseBlock<T, Tile>;
    const index_t row = index_t(blockIdx.y) * Tile::kM, sample = index_t(blockIdx.x) * Tile::kN;
    typename Block::Sums sums = {};
    SampleRows<T> samples(x, sample);
    multiply_sparse_steps<T, Tile>(weight, row, samples, RowFragments<T, Tile>(Block::warp_column()), sums);
    store_fragments(sums, {row + Block::warp_row(), sample + Block::warp_column(), weight.rows, x.width}, epilogue, y);
  }
}

}  // namespace

bool has_sparse_tensor_cores() { return has_tensor_cores_for(Precision::tf32); }

template <class T>
void two_four_tensor_core(index_t batch, const TwoFourTensorView<T>& weight, const float* x,
                          const BiasActivation& epilogue, float* y, T* operand, cudaStream_t stream) {
  require(batch > 0 && weight.rows > 0 && weight.columns > 0, "two_four_tensor_core: batch ", batch, ", weight ",
          weight.rows, " x ", weight.columns, "; all must be at least 1");
  require(has_sparse_tensor_cores(),
          "two_four_tensor_core: sparse tensor cores begin with compute capability 8.0; take "
          "two_four_spmm, which runs on ordinary cores");
  const index_t tiles = ceil_div<index_t>(weight.rows, Tile::kM);
  require(tiles <= kMaxGridYZ, "two_four_tensor_core: ", weight.rows, " rows need more blocks than a grid has");
  const index_t padded = weight.padded_columns();
  narrow_operand(batch, weight.columns, padded, x, operand, stream);
  const NarrowView<T> samples{operand, padded, batch, true};
  simt::launch(two_four_tensor_core_kernel<T>,
               {dim3(unsigned(ceil_div<index_t>(batch, Tile::kN)), unsigned(tiles)), dim3(Tile::kThreads),
                std::size_t(SparseBlock<T, Tile>::kSharedBytes), stream},
               weight, samples, StraightEpilogue(epilogue), y);
  finish_curved(epilogue, batch * weight.rows, y, stream);
}

template void two_four_tensor_core(index_t, const TwoFourTensorView<half>&, const float*, const BiasActivation&, float*,
                                   half*, cudaStream_t);
template void two_four_tensor_core(index_t, const TwoFourTensorView<bfloat16>&, const float*, const BiasActivation&,
                                   float*, bfloat16*, cudaStream_t);
template void two_four_tensor_core(index_t, const TwoFourTensorView<float>&, const float*, const BiasActivation&,
                                   float*, float*, cudaStream_t);

}  // namespace espalier::kernels
