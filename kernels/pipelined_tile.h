// Matrix products on a GPU out of a pipeline of shared tiles: while one step is multiplied, the copies of the next are
// in flight, and a step has one barrier. On compute capability 8.0 and later they are cp.async and pass through no
// register; on 7.5 a step's loads wait in registers until its arithmetic is done. A thread of the large tile sums
// 16 x 8: 128 multiply-adds for six 128-bit shared loads. 2 m n k flops, 4 (m k n / kN + k n m / kM) bytes read. After
// CUTLASS's multistage main loop and salykova's sgemm.cu (transposing 4-byte copies); wins where C has a tile or more.
//
// A loader copies the tile of its operand that a step needs, and zeros where the matrix has ended:
//
//   struct MyLoader {
//     using Parameters = PipelinedView;
//     __device__ MyLoader(const Parameters&, index_t first, index_t k);  // the block's first row or column, first k
//     __device__ void skip(index_t depth);                               // on along k
//     __device__ bool fits() const;                                      // may request() leave rows unguarded?
//     // Whole<Tile::kK> or fewer; std::true_type where both operands' fits(), or std::false_type
//     template <class Depth, class Fits> __device__ void request(float* stage, Depth depth, Fits fits);
//     __device__ void deliver(float* stage) const;  // what request() had to leave in registers
//   };
#pragma once
#include "kernels/gemm_loaders.h"
#include "kernels/gemm_tile.h"
#include "kernels/simt/async_copy.h"
#include "kernels/simt/vector_store.h"

namespace espalier::kernels {

// 168 registers a thread and 32.3 KiB a block leave room for three blocks on a multiprocessor of 100 KiB (8.6, 8.9,
// 12.0). A as it is, 2048 of the main loop's instructions are FFMA, 21 for each 128-bit shared load. On sm_80, sm_86 of
// 2227 and 2228 (92 %) with B as it is, of 2245 and 2245 (91 %) with B transposed; of 2236 and 2237, 2280 and 2281 in
// the blocks that hold the end of C. Modelled 4096^3, us: A100 8343 with three blocks, 8672 with two (and more
// registers); RTX 4090 2551 and 2854.
struct PipelinedLargeTile {
  static constexpr int kM = 128, kN = 128, kK = 16;  // a block makes C [kM, kN] in steps of depth kK
  static constexpr int kThreadM = 16, kThreadN = 8, kThreads = 128;
  static constexpr int kBlocks = 3;  // at least so many to a multiprocessor: bounds the registers
};
struct PipelinedMediumTile {
  static constexpr int kM = 64, kN = 64, kK = 16, kThreadM = 8, kThreadN = 4, kThreads = 128, kBlocks = 4;
};
struct PipelinedSmallTile {
  static constexpr int kM = 32, kN = 32, kK = 16, kThreadM = 4, kThreadN = 4, kThreads = 64, kBlocks = 8;
};

// Where a step lies in shared memory: in eight groups, of which group g has k = g, g + 8 ... of A, then those of B,
// then padding. The transposing stores of a warp, 8 k by 4 rows, hit 32 different banks, and padding costs 1 / 128.
template <class Tile>
struct StageLayout {
  static constexpr int kGroups = 8, kDeep = Tile::kK / kGroups, kGroup = kDeep * (Tile::kM + Tile::kN) + 4;
  static constexpr int kFloats = kGroups * kGroup;
  static_assert(Tile::kK % kGroups == 0 && kGroup % 32 == 4, "consecutive groups begin four banks apart");

  template <Side kSide>
  __host__ __device__ static constexpr int at(int k) {
    return k % kGroups * kGroup + k / kGroups * kTileWidth<Tile, kSide> + (kSide == Side::a ? 0 : kDeep * Tile::kM);
  }
};
template <class Tile>
inline constexpr int kPipelineFloats = 2 * StageLayout<Tile>::kFloats;

// An operand with a distance that main loops add at each step: computed by the host, it is a constant to them.
struct PipelinedView {
  MatrixView matrix = {};
  index_t rows_16_bytes = 0;  // from one row, as it lies in memory, to the sixteenth after it

  PipelinedView() = default;
  explicit PipelinedView(const MatrixView& view)
      : matrix(view), rows_16_bytes(16 * view.leading * index_t(sizeof(float))) {}
};

namespace detail {

__device__ inline const float* bytes_after(const float* pointer, index_t bytes) {
  return reinterpret_cast<const float*>(reinterpret_cast<const char*>(pointer) + bytes);
}

// kVector floats to shared memory, zeros unless they exist: begun, and where copies are not asynchronous completed.
template <int kVector>
__device__ inline void request_floats(float* to, const float* from, bool exist, float* held) {
  if constexpr (simt::kAsyncCopy) {
    simt::async_copy<4 * kVector>(to, from, exist ? 4 * kVector : 0);
  } else {
#pragma unroll
    for (int i = 0; i < kVector; ++i) held[i] = 0.0f;
    if (exist) load_floats<kVector>(from, held);
  }
}
template <int kVector>
__device__ inline void deliver_floats(float* to, const float* held) {
  if constexpr (!simt::kAsyncCopy) {
    if constexpr (kVector == 4) {
      *reinterpret_cast<float4*>(to) = make_float4(held[0], held[1], held[2], held[3]);
    } else {
      *to = *held;
    }
  }
}

}  // namespace detail

// memory [k, width]: neighbouring lanes copy neighbouring vectors of a row.
template <class Tile, Side kSide, int kVector>
class PipelinedWideLoader {
  using Layout = StageLayout<Tile>;
  static constexpr int kLanes = kTileWidth<Tile, kSide> / kVector, kRowsAtOnce = Tile::kThreads / kLanes;
  static constexpr int kPasses = Tile::kK / kRowsAtOnce;
  static_assert(Tile::kThreads % kLanes == 0 && Layout::kGroups % kRowsAtOnce == 0, "threads cover whole rows");
  static_assert(Tile::kK == 16, "a step is what PipelinedView knows the bytes of");

 public:
  using Parameters = PipelinedView;

  __device__ PipelinedWideLoader(const PipelinedView& of, index_t first, index_t k)
      : leading_(of.matrix.leading), step_bytes_(of.rows_16_bytes) {
    const MatrixView& view = of.matrix;
    from_ = view.data + k * view.leading + first;
    const int row = int(threadIdx.x) / kLanes, lane = int(threadIdx.x) % kLanes * kVector;
    offset_ = row * int(view.leading) + lane;
    to_ = Layout::template at<kSide>(row) + lane;
    exists_ = first + lane < view.width;
  }

  // Its own guard is one predicate, and stays. Copies of single floats, for unaligned rows, leave the second main loop
  // that unguarded rows want too few registers on sm_120.
  __device__ static constexpr bool fits() { return kVector == 4; }
  __device__ void skip(index_t depth) {
    from_ = depth == Tile::kK ? detail::bytes_after(from_, step_bytes_) : from_ + depth * leading_;
  }

  template <class Depth, class Fits>
  __device__ void request(float* stage, Depth depth, Fits) {
#pragma unroll
    for (int pass = 0; pass < kPasses; ++pass) {
      const bool exist = exists_ && inside(int(threadIdx.x) / kLanes + pass * kRowsAtOnce, depth);
      detail::request_floats<kVector>(stage + to_ + step(pass), from_ + pass * kRowsAtOnce * leading_ + offset_, exist,
                                      held_ + pass * kVector);
    }
  }
  __device__ void deliver(float* stage) const {
#pragma unroll
    for (int pass = 0; pass < kPasses; ++pass) {
      detail::deliver_floats<kVector>(stage + to_ + step(pass), held_ + pass * kVector);
    }
  }

 private:
  __device__ static constexpr int step(int pass) {
    return Layout::template at<kSide>(pass * kRowsAtOnce) - Layout::template at<kSide>(0);
  }

  index_t leading_, step_bytes_;
  const float* from_;  // of the block: the same in all threads, it costs them no register
  int offset_, to_;    // of the thread: floats from there, floats in the stage
  bool exists_;
  float held_[kPasses * kVector];
};

// memory [width, k], transposed on the way: eight lanes copy a sector (32 bytes) of a row, the next eight the next row.
template <class Tile, Side kSide>
class PipelinedDeepLoader {
  using Layout = StageLayout<Tile>;
  static constexpr int kWidth = kTileWidth<Tile, kSide>, kLanes = Layout::kGroups;
  static constexpr int kRowsAtOnce = Tile::kThreads / kLanes, kRowPasses = kWidth / kRowsAtOnce;
  static_assert(kWidth % kRowsAtOnce == 0, "threads cover whole columns of the tile");

 public:
  using Parameters = PipelinedView;

  __device__ PipelinedDeepLoader(const PipelinedView& of, index_t first, index_t k) {
    const MatrixView& view = of.matrix;
    stride_bytes_ = kRowsAtOnce == 16 ? of.rows_16_bytes : kRowsAtOnce * index_t(sizeof(float)) * view.leading;
    const int row = int(threadIdx.x) / kLanes, k_in_step = int(threadIdx.x) % kLanes;
    from_ = view.data + (first + row) * view.leading + k + k_in_step;
    to_ = Layout::template at<kSide>(k_in_step) + row;
    const index_t rows = view.width - first;
    rows_ = (rows < kWidth ? int(rows) : kWidth) - row;
    fits_ = rows >= kWidth;
  }

  __device__ bool fits() const { return fits_; }
  __device__ void skip(index_t depth) { from_ += depth; }

  template <class Depth, class Fits>
  __device__ void request(float* stage, Depth depth, Fits) {
    const float* from = from_;
#pragma unroll
    for (int pass = 0; pass < kRowPasses; ++pass) {
#pragma unroll
      for (int deep = 0; deep < Layout::kDeep; ++deep) {
        const bool row = Fits::value || pass * kRowsAtOnce < rows_;
        const bool exist = row && inside(int(threadIdx.x) % kLanes + deep * kLanes, depth);
        detail::request_floats<1>(stage + to_ + pass * kRowsAtOnce + deep * kWidth, from + deep * kLanes, exist,
                                  held_ + pass * Layout::kDeep + deep);
      }
      from = detail::bytes_after(from, stride_bytes_);
      simt::forget_origin(from);
    }
  }
  __device__ void deliver(float* stage) const {
#pragma unroll
    for (int pass = 0; pass < kRowPasses; ++pass) {
#pragma unroll
      for (int deep = 0; deep < Layout::kDeep; ++deep) {
        detail::deliver_floats<1>(stage + to_ + pass * kRowsAtOnce + deep * kWidth,
                                  held_ + pass * Layout::kDeep + deep);
      }
    }
  }

 private:
  index_t stride_bytes_;  // from one pass to the next
  const float* from_;
  int to_, rows_;  // floats in the stage; rows of the matrix from this thread's first on
  bool fits_;      // all rows of the tile exist
  float held_[kRowPasses * Layout::kDeep];
};

// sums += A * B of one step: ptxas overlaps the shared loads of one k with the multiply-adds of the one before.
template <class Tile, class Depth>
__device__ inline void multiply_stage(const float* stage, Depth depth, Sums<Tile>& sums) {
  using Layout = StageLayout<Tile>;
  const ThreadTile<Tile> at;
  const auto one_deep = [&](int group, int deep) {
    const int k = group + deep * Layout::kGroups;
    float left[Tile::kThreadM], right[Tile::kThreadN];
#pragma unroll
    for (int i = 0; i < Tile::kThreadM; i += 4) {
      detail::load_floats<4>(stage + Layout::template at<Side::a>(k) + at.row_of(i), left + i);
    }
#pragma unroll
    for (int j = 0; j < Tile::kThreadN; j += 4) {
      detail::load_floats<4>(stage + Layout::template at<Side::b>(k) + at.column_of(j), right + j);
    }
#pragma unroll
    for (int i = 0; i < Tile::kThreadM; ++i) {
#pragma unroll
      for (int j = 0; j < Tile::kThreadN; ++j) sums.value[0][i][j] += left[i] * right[j];
    }
  };
  if constexpr (std::is_same_v<Depth, int>) {
#pragma unroll 1
    for (int k = 0; k < depth; ++k) one_deep(k % Layout::kGroups, k / Layout::kGroups);
  } else {
#pragma unroll
    for (int deep = 0; deep < Layout::kDeep; ++deep) {
#pragma unroll
      for (int group = 0; group < Layout::kGroups; ++group) one_deep(group, deep);
    }
  }
}

// Both operands on their way into the two stages at `shared`.
template <class Tile, class LoaderA, class LoaderB>
struct Pipeline {
  LoaderA& a;
  LoaderB& b;
  float* shared;

  __device__ void skip(index_t k) {
    a.skip(k);
    b.skip(k);
  }
  template <class Depth, class Fits>
  __device__ void request(int to, Depth depth, Fits fits) {
    a.request(shared + to, depth, fits);
    b.request(shared + to, depth, fits);
    simt::async_commit();
  }
  __device__ void deliver(int to) {
    a.deliver(shared + to);
    b.deliver(shared + to);
  }

  // sums += A * B of whole steps, of which the first has been requested into the first stage. `steps` counts down in
  // place: a copy of it makes ptxas spill on sm_120.
  template <class Fits, class EachStage>
  __device__ void multiply(int& steps, Fits fits, Sums<Tile>& sums, const EachStage& each_stage) {
    constexpr int kStep = StageLayout<Tile>::kFloats;
    constexpr Whole<Tile::kK> whole{};
    int buffer = 0;
#pragma unroll 1
    for (; steps > 0; --steps) {
      simt::async_wait<0>();
      __syncthreads();  // this step is there, and everybody is done with the last one
      skip(Tile::kK);
      if (steps > 1) request(kStep - buffer, whole, fits);
      multiply_stage<Tile>(shared + buffer, whole, sums);
      each_stage(shared + buffer, whole);
      buffer = kStep - buffer;
      if (steps > 1) deliver(buffer);
    }
  }
};

// sums = A * B, `depth` deep; `shared` holds kPipelineFloats. each_stage(stage, depth) sees every step in shared
// memory. What the last step lacks to a whole one is made up by a short step before the first: the main loop has whole
// steps only, and asks about k nowhere. Nor about rows where all exist: the sixteen guards of two deep loaders
// outnumber the predicates, and kept as bits they cost nearly two instructions each a step.
template <class Tile, class LoaderA, class LoaderB, class EachStage>
__device__ inline void multiply_pipelined(LoaderA& a, LoaderB& b, int depth, float* shared, Sums<Tile>& sums,
                                          const EachStage& each_stage) {
  constexpr int kStep = StageLayout<Tile>::kFloats;
  Pipeline<Tile, LoaderA, LoaderB> pipeline{a, b, shared};
  sums = {};
  int steps = depth / Tile::kK;
  const int rest = depth % Tile::kK;
  if (rest > 0) {
    pipeline.skip(depth - rest);
    pipeline.request(kStep, rest, std::false_type());
    pipeline.deliver(kStep);
    pipeline.skip(rest - depth);
  }
  if (steps > 0) {
    pipeline.request(0, Whole<Tile::kK>(), std::false_type());
    pipeline.deliver(0);
  }
  if (rest > 0) {
    simt::async_wait<0>();
    __syncthreads();
    multiply_stage<Tile>(shared + kStep, rest, sums);
    each_stage(shared + kStep, rest);
  }
  if (a.fits() && b.fits()) {
    pipeline.multiply(steps, std::true_type(), sums, each_stage);
  } else {
    pipeline.multiply(steps, std::false_type(), sums, each_stage);
  }
}

}  // namespace espalier::kernels
