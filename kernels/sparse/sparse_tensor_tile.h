// The product of sparse tensor cores, whatever brings the samples: a step is 128 bytes of x along k (64 columns of 16
// bits, of which W keeps 32), in two instructions of mma.sp. Steps come by cp.async into a ring of shared tiles, from
// where ldmatrix reads fragments; a warp's metadata of a step is one 128-bit load for each lane, made one step ahead. A
// step costs a warp 32 mma.sp and one barrier. Device code: for .cu files only.
#pragma once
#include "kernels/sparse/formats.h"
#include "kernels/sparse/fragment_store.h"
#include "kernels/tensor_core_loaders.h"

namespace espalier::kernels {

// C [rows, samples] of a block, 64 x 32 to each of four warps. At most 48 KiB of shared memory: two blocks on any
// multiprocessor.
template <int kRows>
struct SparseTile {
  static constexpr int kM = kRows, kN = 8192 / kRows, kWarpM = 64, kWarpN = 32, kThreads = 128, kBlocks = 2;
  static constexpr int kStages = kRows == 128 ? 3 : 2;
};

template <class T, class Tile>
struct SparseBlock {
  using Weight = ChunkLoader<Tile, Side::a, T, Along::depth, false>;
  using FragmentsA = FragmentLoader<T, Side::a, Tile::kM, Tile::kWarpM, Along::depth>;
  static constexpr int kBytesA = OperandTile<T, Tile::kM, Along::depth>::kBytes, kBytesB = Tile::kN * 2 * kStepBytes;
  static constexpr int kStage = kBytesA + kBytesB, kSharedBytes = kStage * Tile::kStages;
  struct TileA {
    static constexpr bool kPaired = false;  // rows of an instruction are rows of C
  };
  struct FragmentsB {
    static constexpr int kFragments = Tile::kWarpN / 8;
  };
  using Sums = float[FragmentsA::kFragments][FragmentsB::kFragments][4];
  static_assert(FragmentsA::kFragments == TwoFourTensorView<T>::kFragments && Tile::kWarpM == 64,
                "a lane's metadata of a step is one load");

  __device__ static int warp_row() { return int(threadIdx.x) / 32 / (Tile::kN / Tile::kWarpN) * Tile::kWarpM; }
  __device__ static int warp_column() { return int(threadIdx.x) / 32 % (Tile::kN / Tile::kWarpN) * Tile::kWarpN; }
};

// Samples that come as rows, 64 bytes of each an instruction (OperandTile along depth): eight of them in one ldmatrix,
// an instruction's fragment of b in the order of its registers.
template <class T, class Tile>
class RowFragments {
  using Samples = OperandTile<T, Tile::kN, Along::depth>;

 public:
  __device__ explicit RowFragments(int first)
      : offset_(Samples::offset(first + int(threadIdx.x) % 8, int(threadIdx.x) % 32 / 8)) {}
  template <int kInstruction>
  __device__ void load(const char* tile, int i, unsigned (&r)[4]) const {
    tile += kInstruction * Tile::kN * kStepBytes;
    simt::load_matrices<simt::MatrixOrder::as_stored>(r, tile + offset_ + i * 8 * Samples::kPitch);
  }

 private:
  int offset_;
};

// sums += one instruction's depth of the step in `stage`.
template <class T, class Tile, int kInstruction, class Fragments>
__device__ inline void multiply_sparse_instruction(const char* stage,
                                                   const typename SparseBlock<T, Tile>::FragmentsA& fragments_a,
                                                   const Fragments& fragments_b, const unsigned (&places)[4],
                                                   typename SparseBlock<T, Tile>::Sums& sums) {
  using Block = SparseBlock<T, Tile>;
  typename Block::FragmentsA::Registers left;
  fragments_a.template load<kInstruction>(stage, left);
#pragma unroll
  for (int j = 0; j < Block::FragmentsB::kFragments; ++j) {
    unsigned right[4];
    fragments_b.template load<kInstruction>(stage + Block::kBytesA, j, right);
#pragma unroll
    for (int i = 0; i < Block::FragmentsA::kFragments; ++i) {
      simt::multiply_sparse_fragments<T, kInstruction>(sums[i][j], left[i], right, places[i]);
    }
  }
}

// sums = the block's rows from `row` on times the samples. samples.request(tile) starts the copies of their next step,
// fragments_b.load<kInstruction>(tile, j, r) gives a warp its j-th fragment of one.
template <class T, class Tile, class Samples, class Fragments>
__device__ inline void multiply_sparse_steps(const TwoFourTensorView<T>& weight, index_t row, Samples& samples,
                                             const Fragments& fragments_b, typename SparseBlock<T, Tile>::Sums& sums) {
  using Block = SparseBlock<T, Tile>;
  constexpr int kStages = Tile::kStages, kStage = Block::kStage;
  const int steps = int(weight.steps());
  const NarrowView<T> values{weight.values, weight.padded_columns() / 2, weight.padded_rows(), true};
  typename Block::Weight a(values, row, BlockRange{});
  char* const shared = simt::dynamic_shared<char>();
  const auto request = [&](char* stage) {
    a.template fetch<Place::interior>(stage);
    samples.request(stage + Block::kBytesA);
  };
#pragma unroll
  for (int stage = 0; stage < kStages - 1; ++stage) {
    if (stage < steps) request(shared + stage * kStage);
    simt::async_commit();
  }
  const typename Block::FragmentsA fragments_a(Block::warp_row());
  const uint4* metadata = reinterpret_cast<const uint4*>(weight.metadata) +
                          (row + Block::warp_row()) / Tile::kWarpM * steps * 32 + threadIdx.x % 32;
  uint4 next = *metadata;
  char *read = shared, *write = shared + (kStages - 1) * kStage;
#pragma unroll 2
  for (int step = 0; step < steps; ++step) {
    simt::async_wait<kStages - 2>();
    __syncthreads();  // this step is there, and everybody is done with the last one
    if (step + kStages - 1 < steps) request(write);
    simt::async_commit();
    const unsigned places[4] = {next.x, next.y, next.z, next.w};
    metadata += 32;
    if (step + 1 < steps) next = *metadata;
    multiply_sparse_instruction<T, Tile, 0>(read, fragments_a, fragments_b, places, sums);
    multiply_sparse_instruction<T, Tile, 1>(read, fragments_a, fragments_b, places, sums);
    write = read;
    read = read == shared + (kStages - 1) * kStage ? shared : read + kStage;
  }
}

}  // namespace espalier::kernels
