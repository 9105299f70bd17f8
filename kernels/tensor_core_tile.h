// Tiles of a product on tensor cores: how operands lie in shared memory, and how fragments of them reach registers.
// A step of the product is 64 bytes deep (16 of tf32, 32 of a 16-bit format), two instructions of 32. A tile "along
// depth" lies as [width, 64 bytes], one "along width" as [k, width]; either is cut into chunks of 16 bytes, since that
// is what cp.async copies and a lane of ldmatrix names. Chunk c of row r lies at chunk c XOR f(r): the eight rows of a
// matrix that ldmatrix reads then are in 8 different quarters of the 32 banks, and no byte is spent on padding.
// ldmatrix transposes 16-bit elements only. Of tf32 "along width" lanes read what an instruction wants by themselves,
// of A two neighbours at once: which row of C is an instruction's row is ours to choose (store_fragments()). Swizzle:
// CUTLASS, efficient_gemm.md
#pragma once
#include "kernels/gemm_loaders.h"
#include "kernels/simt/tensor_core.h"

namespace espalier::kernels {

// Which axis of an operand or of its tile runs along memory: k, or m (of A) and n (of B).
enum class Along { depth, width };

// A block makes C [kM, kN], each of its warps [kWarpM, kWarpN]; kStages steps are on their way at a time. kK is the
// unit in which k is split.
struct TensorLargeTile {
  static constexpr int kM = 128, kN = 128, kK = 32, kWarpM = 64, kWarpN = 64, kThreads = 128, kStages = 3, kBlocks = 2;
};
struct TensorSmallTile {
  static constexpr int kM = 64, kN = 64, kK = 32, kWarpM = 32, kWarpN = 32, kThreads = 128, kStages = 4, kBlocks = 3;
};
// For steps that pass through registers: those of compute capability 7.5, and of rows that are not aligned.
struct TensorStagedTile {
  static constexpr int kM = 128, kN = 128, kK = 32, kWarpM = 64, kWarpN = 32, kThreads = 256, kStages = 2, kBlocks = 1;
};
struct TensorStagedSmallTile {
  static constexpr int kM = 64, kN = 64, kK = 32, kWarpM = 32, kWarpN = 32, kThreads = 128, kStages = 2, kBlocks = 2;
};

inline constexpr int kChunkBytes = 16, kStepBytes = 64, kInstructionBytes = 32;
template <class T>
inline constexpr int kChunk = kChunkBytes / int(sizeof(T));  // elements
template <class T>
inline constexpr int kStepDepth = kStepBytes / int(sizeof(T));

// A step of an operand in shared memory.
template <class T, int kWidth, Along kAlong>
struct OperandTile {
  static constexpr int kPitch = kAlong == Along::depth ? kStepBytes : kWidth * int(sizeof(T));  // bytes
  static constexpr int kRows = kAlong == Along::depth ? kWidth : kStepDepth<T>;
  static constexpr int kRowChunks = kPitch / kChunkBytes, kBytes = kRows * kPitch;

  static constexpr bool kPaired = kAlong == Along::width && sizeof(T) == 4;

  // Eight rows that follow each other get 8 different places among the 128 bytes of all banks; where lanes read two
  // chunks of a row, four rows do.
  __device__ static constexpr int swizzle(int row) {
    return kPaired ? row % 4 * 2 : kPitch == kStepBytes ? row / 2 % 4 : row % 8;
  }
  __device__ static int offset(int row, int chunk) { return row * kPitch + (chunk ^ swizzle(row)) * kChunkBytes; }
};

// Brings the part of an operand that one warp multiplies from shared memory to registers: for A kWarp / 16 fragments of
// 16 rows, for B kWarp / 8 of 8 columns.
template <class T, Side kSide, int kWidth, int kWarp, Along kAlong>
class FragmentLoader {
  using Tile = OperandTile<T, kWidth, kAlong>;
  static constexpr int kLoads = kWarp / 16;
  static_assert(!Tile::kPaired || kLoads == 4, "offsets of the fragments repeat after four loads");

 public:
  static constexpr int kFragments = kSide == Side::a ? kWarp / 16 : kWarp / 8;
  static constexpr int kRegisters = kSide == Side::a ? 4 : 2;
  using Registers = unsigned[kFragments][kRegisters];

  // `first`: of the warp's rows or columns in the tile.
  __device__ explicit FragmentLoader(int first) {
    const int lane = int(threadIdx.x) % 32, eighth = lane / 8, in_eighth = lane % 8;
    // A: matrices [width 0-7, k 0-7], [8-15, 0-7], [0-7, 8-15], [8-15, 8-15]; B: k before width.
    const int width_half = kSide == Side::a ? eighth % 2 : eighth / 2;
    const int depth_half = kSide == Side::a ? eighth / 2 : eighth % 2;
    if constexpr (Tile::kPaired) {
      const int width = first + (kSide == Side::a ? lane / 4 * 2 : lane / 4), period = kSide == Side::a ? 16 : 8;
#pragma unroll
      for (int i = 0; i < kLoads; ++i) {
        offset_[i] = Tile::offset(lane % 4, (width + i * period) / 4) + width % 4 * 4;
      }
    } else if constexpr (kAlong == Along::depth) {
      offset_[0] = Tile::offset(first + width_half * 8 + in_eighth, depth_half);
    } else {
#pragma unroll
      for (int i = 0; i < kLoads; ++i) {
        offset_[i] = Tile::offset(depth_half * 8 + in_eighth, first / 8 + 2 * i + width_half);
      }
    }
  }

  // Instruction kStep (0 or 1) of the step.
  template <int kStep>
  __device__ void load(const char* tile, Registers& r) const {
    if constexpr (Tile::kPaired) {
      load_paired<kStep>(tile, r);
    } else {
      load_matrices<kStep>(tile, r);
    }
  }

 private:
  template <int kStep>
  __device__ void load_matrices(const char* tile, Registers& r) const {
#pragma unroll
    for (int i = 0; i < kLoads; ++i) {
      unsigned four[4];
      if constexpr (kAlong == Along::depth) {
        const int offset = (offset_[0] ^ kStep * kInstructionBytes) + i * 16 * Tile::kPitch;
        simt::load_matrices<simt::MatrixOrder::as_stored>(four, tile + offset);
      } else {
        simt::load_matrices<simt::MatrixOrder::transposed>(four, tile + offset_[i] + kStep * 16 * Tile::kPitch);
      }
      take(four, i, r);
    }
  }

  // What lies 64 or 32 bytes further differs in bits of its chunk that the swizzle changes, too.
  template <int kStep>
  __device__ void load_paired(const char* tile, Registers& r) const {
#pragma unroll
    for (int i = 0; i < kFragments; ++i) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        constexpr int kPeriod = kSide == Side::a ? 2 : 4;
        const int beyond = i / kPeriod * 128 + (kStep * 8 + half * 4) * Tile::kPitch;
        const char* from = tile + offset_[i % kPeriod] + beyond;
        if constexpr (kSide == Side::a) {
          const uint2 pair = *reinterpret_cast<const uint2*>(from);
          r[i][2 * half] = pair.x, r[i][2 * half + 1] = pair.y;
        } else {
          r[i][half] = *reinterpret_cast<const unsigned*>(from);
        }
      }
    }
  }

  __device__ static void take(const unsigned (&four)[4], int i, Registers& r) {
    if constexpr (kSide == Side::a) {
#pragma unroll
      for (int m = 0; m < 4; ++m) r[i][m] = four[m];
    } else {
#pragma unroll
      for (int m = 0; m < 4; ++m) r[2 * i + m / 2][m % 2] = four[m];
    }
  }

  int offset_[kAlong == Along::depth ? 1 : kLoads];
};

}  // namespace espalier::kernels
