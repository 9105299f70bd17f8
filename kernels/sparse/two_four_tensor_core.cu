// A step is 128 bytes of x along k: 64 columns of 16 bits, of which W keeps 32, in two instructions of mma.sp. Steps
// come by cp.async into a ring of shared tiles of 64-byte rows (tensor_core_tile.h), one of W and two of x, from where
// ldmatrix reads fragments; a warp's metadata of a step is one 128-bit load for each lane, made one step ahead. A step
// costs a warp 32 mma.sp, 16 ldmatrix, 8 cp.async a thread and one barrier.
#include "kernels/sparse/two_four_tensor_core.h"

#include "kernels/gemm_tensor_core.h"
#include "kernels/grid.h"
#include "kernels/require.h"
#include "kernels/sparse/narrow_operand.h"
#include "kernels/sparse/straight_epilogue.h"
#include "kernels/tensor_core_loaders.h"

namespace espalier::kernels {
namespace {

// C [rows, samples]: 128 x 64 to a block, 64 x 32 to a warp. 48 KiB of shared memory: two blocks on any multiprocessor.
struct SparseTile {
  static constexpr int kM = 128, kN = 64, kWarpM = 64, kWarpN = 32, kThreads = 128, kStages = 3, kBlocks = 2;
};

template <class T>
struct SparseBlock {
  using Weight = ChunkLoader<SparseTile, Side::a, T, Along::depth, false>;
  using Samples = ChunkLoader<SparseTile, Side::b, T, Along::depth, false>;
  using FragmentsA = FragmentLoader<T, Side::a, SparseTile::kM, SparseTile::kWarpM, Along::depth>;
  static constexpr int kBytesA = OperandTile<T, SparseTile::kM, Along::depth>::kBytes;
  static constexpr int kBytesB = OperandTile<T, SparseTile::kN, Along::depth>::kBytes;
  static constexpr int kStage = kBytesA + 2 * kBytesB, kSharedBytes = kStage * SparseTile::kStages;
  static constexpr int kFragmentsB = SparseTile::kWarpN / 8;
  using Sums = float[FragmentsA::kFragments][kFragmentsB][4];
  static_assert(FragmentsA::kFragments == TwoFourTensorView<T>::kFragments && SparseTile::kWarpM == 64 &&
                    SparseTile::kM == TwoFourTensorView<T>::kTile,
                "a lane's metadata of a step is one load");

  __device__ static int warp_row() {
    return int(threadIdx.x) / 32 / (SparseTile::kN / SparseTile::kWarpN) * SparseTile::kWarpM;
  }
  __device__ static int warp_column() {
    return int(threadIdx.x) / 32 % (SparseTile::kN / SparseTile::kWarpN) * SparseTile::kWarpN;
  }
};

// Eight samples, 64 bytes deep, in one ldmatrix: an instruction's fragment of b, in the order of its registers.
template <class T>
class SampleFragments {
  using Tile = OperandTile<T, SparseTile::kN, Along::depth>;

 public:
  __device__ explicit SampleFragments(int first)
      : offset_(Tile::offset(first + int(threadIdx.x) % 8, int(threadIdx.x) % 32 / 8)) {}
  __device__ void load(const char* tile, int i, unsigned (&r)[4]) const {
    simt::load_matrices<simt::MatrixOrder::as_stored>(r, tile + offset_ + i * 8 * Tile::kPitch);
  }

 private:
  int offset_;
};

// sums += one instruction's depth of the step in `stage`.
template <class T, int kInstruction>
__device__ inline void multiply_instruction(const char* stage, const typename SparseBlock<T>::FragmentsA& fragments_a,
                                            const SampleFragments<T>& fragments_b, const unsigned (&places)[4],
                                            typename SparseBlock<T>::Sums& sums) {
  using Block = SparseBlock<T>;
  const char* samples = stage + Block::kBytesA + kInstruction * Block::kBytesB;
  typename Block::FragmentsA::Registers left;
  fragments_a.template load<kInstruction>(stage, left);
#pragma unroll
  for (int j = 0; j < Block::kFragmentsB; ++j) {
    unsigned right[4];
    fragments_b.load(samples, j, right);
#pragma unroll
    for (int i = 0; i < Block::FragmentsA::kFragments; ++i) {
      simt::multiply_sparse_fragments<T, kInstruction>(sums[i][j], left[i], right, places[i]);
    }
  }
}

template <class T>
__device__ inline void multiply_steps(const TwoFourTensorView<T>& weight, const NarrowView<T>& x, index_t row,
                                      index_t sample, typename SparseBlock<T>::Sums& sums) {
  using Block = SparseBlock<T>;
  constexpr int kStages = SparseTile::kStages, kStage = Block::kStage;
  const int steps = int(weight.steps());
  const NarrowView<T> values{weight.values, weight.padded_columns() / 2, weight.padded_rows(), true};
  typename Block::Weight a(values, row, BlockRange{});
  typename Block::Samples b(x, sample, BlockRange{});
  char* const shared = simt::dynamic_shared<char>();
  const auto request = [&](char* stage) {
    a.template fetch<Place::interior>(stage);
    b.template fetch<Place::interior>(stage + Block::kBytesA);
    b.template fetch<Place::interior>(stage + Block::kBytesA + Block::kBytesB);
  };
#pragma unroll
  for (int stage = 0; stage < kStages - 1; ++stage) {
    if (stage < steps) request(shared + stage * kStage);
    simt::async_commit();
  }
  const typename Block::FragmentsA fragments_a(Block::warp_row());
  const SampleFragments<T> fragments_b(Block::warp_column());
  const uint4* metadata = reinterpret_cast<const uint4*>(weight.metadata) +
                          (row + Block::warp_row()) / SparseTile::kWarpM * steps * 32 + threadIdx.x % 32;
  uint4 next = *metadata;
  char *read = shared, *write = shared + (kStages - 1) * kStage;
#pragma unroll 1
  for (int step = 0; step < steps; ++step) {
    simt::async_wait<kStages - 2>();
    __syncthreads();  // this step is there, and everybody is done with the last one
    if (step + kStages - 1 < steps) request(write);
    simt::async_commit();
    const unsigned places[4] = {next.x, next.y, next.z, next.w};
    metadata += 32;
    if (step + 1 < steps) next = *metadata;
    multiply_instruction<T, 0>(read, fragments_a, fragments_b, places, sums);
    multiply_instruction<T, 1>(read, fragments_a, fragments_b, places, sums);
    write = read;
    read = read == shared + (kStages - 1) * kStage ? shared : read + kStage;
  }
}

// Eight lanes hold eight neighbouring rows of a sample: each store of a warp is four whole sectors.
template <class T>
__global__ void __launch_bounds__(SparseTile::kThreads, SparseTile::kBlocks)
    two_four_tensor_core_kernel(TwoFourTensorView<T> weight, NarrowView<T> x, StraightEpilogue epilogue,
                                float* __restrict__ y) {
  if constexpr (simt::kAsyncCopy) {
    using Block = SparseBlock<T>;
    const index_t first_row = index_t(blockIdx.y) * SparseTile::kM, first_sample = index_t(blockIdx.x) * SparseTile::kN;
    typename Block::Sums sums = {};
    multiply_steps<T>(weight, x, first_row, first_sample, sums);
    const int lane = int(threadIdx.x) % 32;
    const index_t row = first_row + Block::warp_row() + lane / 4;
    const index_t sample = first_sample + Block::warp_column() + lane % 4 * 2;
#pragma unroll
    for (int i = 0; i < Block::FragmentsA::kFragments; ++i) {
#pragma unroll
      for (int j = 0; j < Block::kFragmentsB; ++j) {
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          const index_t to_row = row + 16 * i + e / 2 * 8, to_sample = sample + 8 * j + e % 2;
          if (to_row < weight.rows && to_sample < x.width) {
            y[to_sample * weight.rows + to_row] = epilogue(sums[i][j][e], to_row);
          }
        }
      }
    }
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
  const index_t tiles = ceil_div<index_t>(weight.rows, SparseTile::kM);
  require(tiles <= kMaxGridYZ, "two_four_tensor_core: ", weight.rows, " rows need more blocks than a grid has");
  const index_t padded = weight.padded_columns();
  narrow_operand(batch, weight.columns, padded, x, operand, stream);
  const NarrowView<T> samples{operand, padded, batch, true};
  simt::launch(two_four_tensor_core_kernel<T>,
               {dim3(unsigned(ceil_div<index_t>(batch, SparseTile::kN)), unsigned(tiles)), dim3(SparseTile::kThreads),
                std::size_t(SparseBlock<T>::kSharedBytes), stream},
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
