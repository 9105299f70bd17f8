// A block makes one group of rows for 64 samples. Its warps share out the kept columns, 16 or 8 at a time, and no
// barrier but the warp's is needed until the sums of all warps are added, in fixed order. Within a warp, too, threads
// share out the columns where a register tile of 16 rows leaves lanes over. Nobody but a lane, or a pair, multiplies
// its samples: they go from L2 to its registers, a step ahead, and shared memory only brings what lanes share, the
// weights. The gather itself is dense: 32 samples of a column are 128 contiguous bytes of a panel.
#include "kernels/sparse/vector_nm_spmm.h"

#include "kernels/grid.h"
#include "kernels/require.h"
#include "kernels/simt/async_copy.h"
#include "kernels/simt/unrolled.h"
#include "kernels/simt/vector_store.h"
#include "kernels/sparse/panel_tile.h"
#include "kernels/sparse/straight_epilogue.h"

namespace espalier::kernels {
namespace {

constexpr int kRun = 32, kColumnLanes = kRun / 4;  // samples that lie side by side; lanes that have four each
constexpr int kRuns = 2, kPanel = kRun * kRuns, kSamples = 4 * kRuns;  // of a block, of a thread
constexpr int kRunBytes = kRun * int(sizeof(float)), kColumnBytes = kPanel * int(sizeof(float));
constexpr int kWarps = 4, kThreads = 32 * kWarps, kStages = 2;

// Sixteen rows by eight samples to a thread: 128 multiply-adds for four 128-bit loads of weights and two of samples.
// Fewer rows where the vectors are lower; of four the weights, too, are a lane's own. FFMA in the main loop of sm_80
// and sm_86: 90 % at heights 32 and 16, 85 at 8, 81 at 4. Modelled, W 4096 x 4096, 87.5 % zeros, batch 256, us on
// A100, RTX 4090 and H100: 76, 26 and 34 at height 32, 75, 32 and 39 at 16, 71, 53 and 58 at 8, 104, 97 and 106 at 4,
// bound there by the L2 cache, of which each group reads its columns anew; the panels cost 9 and 12 more on A100 and
// RTX 4090. Samples by way of shared memory, as the weights: at 8 86 and 56, at 4 128 and 99. Shared memory
// gives half a byte to a multiply-add, at 4 none; by way of it 12 samples to a thread were needed for 0.58 at 32.
template <int kHeight_>
struct VectorTile {
  static constexpr int kHeight = kHeight_, kRows = kHeight < 16 ? kHeight : 16, kRowLanes = kHeight / kRows;
  static constexpr int kSlices = 32 / (kRowLanes * kColumnLanes);  // of a step: lanes that multiply other columns
  static constexpr int kColumns = 4, kDepth = kColumns * kSlices;  // of a step: of a lane, of all
  static constexpr int kBands = kRows / 4, kBand = 4 * kRowLanes;  // a thread's rows lie in fours, kBand apart
  static constexpr bool kOwnWeights = kHeight == 4;
  static constexpr int kStep = kDepth * kHeight, kSlice = kColumns * kHeight;     // weights
  static constexpr int kSlicePitch = kSlice + 4, kStage = kSlices * kSlicePitch;  // slices begin in different banks
  static constexpr int kChunk = 4 * kPanel + 16;  // four rows of sums: chunks begin 16 banks apart
  static constexpr int kExchange = kWarps * kSlices * kRowLanes * kChunk;
  static constexpr int kPipelines = kOwnWeights ? 0 : kWarps * kStages * kStage;
  static constexpr int kSharedFloats = kPipelines > kExchange ? kPipelines : kExchange;
  using Sums = float[kRows][kSamples];
  static_assert(VectorNmView::kAtOnce % kDepth == 0, "a group has whole steps");
};

struct VectorProduct {
  index_t batch;
  VectorNmView weight;
  const float* panels;
  StraightEpilogue epilogue;
  float* y;
  unsigned tiles;  // of the batch
  bool aligned;    // four rows of y are one store
};

// Where a thread stands in its warp's tile.
template <class Tile>
struct Place {
  int slice, row, column;  // lanes
  __device__ Place() {
    const int lane = int(threadIdx.x) % 32;
    slice = lane / (Tile::kRowLanes * kColumnLanes);
    row = lane / kColumnLanes % Tile::kRowLanes;
    column = lane % kColumnLanes;
  }
};

// The samples of the columns that a lane multiplies, each read as soon as the registers of the one before are free. The
// indices of a step are read one step before.
template <class Tile>
class Columns {
 public:
  __device__ Columns(const VectorProduct& product, unsigned tile, int first, const Place<Tile>& at)
      : indices_(product.weight.column_indices + first + at.slice * Tile::kColumns),
        panel_(reinterpret_cast<const char*>(product.panels + tile * product.weight.columns * kPanel + 4 * at.column)) {
    simt::forget_origin(panel_);  // else each of the gathered addresses is computed from the panel's beginning
    simt::load_together(indices_, next_);
    simt::unrolled<Tile::kColumns>([&](auto i) { load(i); });
  }
  __device__ void read_indices() { simt::load_together(indices_ += kWarps * Tile::kDepth, next_); }
  __device__ void load(int i) {
    const char* from = simt::step_from(panel_, next_[i], kColumnBytes);
#pragma unroll
    for (int run = 0; run < kRuns; ++run) {
      simt::load_together(reinterpret_cast<const float*>(from + run * kRunBytes), samples_[i][run]);
    }
  }
  __device__ float sample(int i, int j) const { return samples_[i][j / 4][j % 4]; }

 private:
  const std::int32_t* indices_;
  const char* panel_;
  std::int32_t next_[Tile::kColumns];
  float samples_[Tile::kColumns][kRuns][4];
};

// The weights of a lane's rows in its columns, which its neighbours need, too: by way of shared memory, a step ahead.
template <class Tile>
class SharedWeights {
  static_assert(Tile::kStep % 128 == 0, "a step is whole copies of a warp");

 public:
  __device__ SharedWeights(const VectorNmView& weight, int first, const Place<Tile>& at, float* shared)
      : values_(weight.values + index_t(first) * Tile::kHeight + 4 * (int(threadIdx.x) % 32)),
        write_(shared + int(threadIdx.x) / 32 * kStages * Tile::kStage),
        read_(write_ + Tile::kStage + at.slice * Tile::kSlicePitch + 4 * at.row) {
    simt::forget_origin(values_);
    request();
  }
  // There must be a step; `more`: and another after it.
  __device__ void start_step(bool more) {
    simt::async_wait<0>();
    __syncwarp();  // the weights are there for all lanes, and all are done with those before
    to_other_ = -to_other_, read_ += to_other_, write_ -= to_other_;
    if (more) request();
  }
  __device__ void take(int i, float (&weights)[Tile::kBands][4]) const {
#pragma unroll
    for (int band = 0; band < Tile::kBands; ++band) {
      simt::load_together(read_ + i * Tile::kHeight + band * Tile::kBand, weights[band]);
    }
  }
  __device__ void load(int) {}

 private:
  __device__ void request() {
    const int lane = int(threadIdx.x) % 32;
#pragma unroll
    for (int i = 0; i < Tile::kStep; i += 128) {
      const int at = i + 4 * lane;
      simt::async_copy<16>(write_ + at + at / Tile::kSlice * (Tile::kSlicePitch - Tile::kSlice), values_ + i);
    }
    simt::async_commit();
    values_ += kWarps * Tile::kStep;
  }

  const float* values_;
  float* write_;
  const float* read_;
  int to_other_ = Tile::kStage;
};

// Few enough for registers, as the samples.
template <class Tile>
class OwnWeights {
 public:
  __device__ OwnWeights(const VectorNmView& weight, int first, const Place<Tile>& at, float*)
      : values_(weight.values + index_t(first) * Tile::kHeight + at.slice * Tile::kSlice) {
    simt::unrolled<Tile::kColumns>([&](auto i) { load(i); });
  }
  __device__ void start_step(bool more) { values_ += more ? kWarps * Tile::kStep : 0; }
  __device__ void take(int i, float (&weights)[Tile::kBands][4]) const {
#pragma unroll
    for (int r = 0; r < Tile::kRows; ++r) weights[r / 4][r % 4] = next_[i][r / 4][r % 4];
  }
  __device__ void load(int i) {
#pragma unroll
    for (int band = 0; band < Tile::kBands; ++band) {
      simt::load_together(values_ + i * Tile::kHeight + 4 * band, next_[i][band]);
    }
  }

 private:
  const float* values_;
  float next_[Tile::kColumns][Tile::kBands][4];
};

template <class Tile>
using Weights = std::conditional_t<Tile::kOwnWeights, OwnWeights<Tile>, SharedWeights<Tile>>;

// Four neighbouring rows of one sample.
__device__ inline void store_rows(const VectorProduct& product, index_t sample, index_t row, float (&sums)[4]) {
  const index_t rows = product.weight.rows;
  if (sample >= product.batch || row >= rows) return;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    if (row + i < rows) sums[i] = product.epilogue(sums[i], row + i);
  }
  float* to = product.y + sample * rows + row;
  if (product.aligned) return simt::store_global(to, sums);
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    if (row + i < rows) to[i] = sums[i];
  }
}

// Adds what all warps and slices have summed, a band of rows at a time, and stores it. Samples change places on the
// way, so that neighbouring lanes write neighbouring chunks.
template <class Tile>
__device__ inline void add_and_store(const VectorProduct& product, index_t first_row, index_t first_sample,
                                     const Place<Tile>& at, const typename Tile::Sums& sums, float* shared) {
  const int slice = int(threadIdx.x) / 32 * Tile::kSlices + at.slice;
  float* mine = shared + (slice * Tile::kRowLanes + at.row) * Tile::kChunk + 4 * at.column;
  const int lane_row = int(threadIdx.x) % Tile::kRowLanes, first_place = int(threadIdx.x) / Tile::kRowLanes;
#pragma unroll
  for (int band = 0; band < Tile::kBands; ++band) {
    __syncthreads();  // nobody reads any more what was there
#pragma unroll
    for (int j = 0; j < kSamples; ++j) {
      const int i = 4 * band;
      simt::store_shared(mine + 4 * (j % 4 * (kPanel / 4) + j / 4 * kColumnLanes),
                         {sums[i][j], sums[i + 1][j], sums[i + 2][j], sums[i + 3][j]});
    }
    __syncthreads();
    for (int place = first_place; place < kPanel; place += kThreads / Tile::kRowLanes) {
      float total[4] = {}, part[4];
#pragma unroll
      for (int i = 0; i < kWarps * Tile::kSlices; ++i) {
        simt::load_together(shared + (i * Tile::kRowLanes + lane_row) * Tile::kChunk + 4 * place, part);
#pragma unroll
        for (int r = 0; r < 4; ++r) total[r] += part[r];
      }
      const int sample = place % (kPanel / 4) * 4 + place / (kPanel / 4);
      store_rows(product, first_sample + sample, first_row + band * Tile::kBand + 4 * lane_row, total);
    }
  }
}

// sums += the warp's share of the columns [first, first + kDepth * all_steps) of a group.
template <class Tile>
__device__ inline void multiply_group(const VectorProduct& product, unsigned tile, int first, int all_steps,
                                      const Place<Tile>& at, float* shared, typename Tile::Sums& sums) {
  const int warp = __shfl_sync(~0u, int(threadIdx.x) / 32, 0);  // by a shuffle: so that nvcc knows it the same
  int steps = (all_steps - warp + kWarps - 1) / kWarps;
  if (steps <= 0) return;
  first += warp * Tile::kDepth;
  Weights<Tile> weights(product.weight, first, at, shared);
  Columns<Tile> columns(product, tile, first, at);
  if (steps > 1) columns.read_indices();
#pragma unroll 1
  for (; steps > 0; --steps) {
    const bool more = steps > 1;
    weights.start_step(more);
    simt::unrolled<Tile::kColumns>([&](auto i) {
      float left[Tile::kBands][4];
      weights.take(i, left);
#pragma unroll
      for (int r = 0; r < Tile::kRows; ++r) {
#pragma unroll
        for (int j = 0; j < kSamples; ++j) sums[r][j] += left[r / 4][r % 4] * columns.sample(i, j);
      }
      if (more) columns.load(i), weights.load(i);
    });
    if (steps > 2) columns.read_indices();
  }
}

// To a multiprocessor: three of the higher spill.
template <int kHeight>
constexpr int kBlocks = kHeight < 16 ? 3 : 2;

template <int kHeight>
__global__ void __launch_bounds__(kThreads, kBlocks<kHeight>) vector_nm_spmm_kernel(VectorProduct product) {
  using Tile = VectorTile<kHeight>;
  const unsigned group = blockIdx.x / product.tiles, tile = blockIdx.x % product.tiles;
  float* shared = simt::dynamic_shared<float>();
  const std::int32_t* offsets = product.weight.group_offsets + group;
  const int first = offsets[0], steps = (offsets[1] - first) / Tile::kDepth;
  const Place<Tile> at;
  typename Tile::Sums sums = {};
  if (steps > 0) multiply_group<Tile>(product, tile, first, steps, at, shared, sums);
  add_and_store<Tile>(product, index_t(group) * kHeight, index_t(tile) * kPanel, at, sums, shared);
}

// The same by one thread with vectors: kRows of a group for one panel.
template <class Tile, int kRows>
__global__ void vector_nm_by_threads_kernel(index_t batch, VectorNmView weight, const float* panels,
                                            BiasActivation epilogue, float* y) {
  const index_t parts = weight.height / kRows, group = blockIdx.x / parts, part = blockIdx.x % parts * kRows;
  const float* panel = panels + index_t(blockIdx.y) * weight.columns * Tile::kPanel;
  typename Tile::Strip sums[kRows];
  for (int i = weight.group_offsets[group]; i < weight.group_offsets[group + 1]; ++i) {
    const auto samples = Tile::Strip::load(panel + index_t(weight.column_indices[i]) * Tile::kPanel);
    const float* values = weight.values + i * weight.height + part;
    simt::unrolled<kRows>([&](auto r) { sums[r].add_product(values[r], samples); });
  }
  store_sums(panel_store<Tile>(batch, weight.rows, group * weight.height + part), epilogue, sums, y);
}

void launch_by_threads(const PanelShape& shape, const VectorNmView& weight, const float* panels,
                       const BiasActivation& epilogue, float* y, cudaStream_t stream) {
  if constexpr (simt::kEmulated) {
    with_panel_tile<ThreadTeam>(shape, [&](auto tile) {
      using Tile = decltype(tile);
      const auto with_rows = [&]<int kRows>(std::integral_constant<int, kRows>) {
        simt::launch(vector_nm_by_threads_kernel<Tile, kRows>,
                     panel_grid<Tile>(weight.groups() * weight.height, kRows, shape, stream), shape.batch, weight,
                     panels, epilogue, y);
      };
      if (weight.height == 4) return with_rows(std::integral_constant<int, 4>());
      with_rows(std::integral_constant<int, 8>());
    });
  }
}

template <int kHeight>
void launch_by_warps(const VectorProduct& product, cudaStream_t stream) {
  using Tile = VectorTile<kHeight>;
  const index_t blocks = product.weight.groups() * product.tiles;
  require(blocks <= kMaxGridX, "vector_nm_spmm: a batch of ", product.batch, " needs more blocks than a grid has");
  simt::launch(vector_nm_spmm_kernel<kHeight>,
               {dim3(unsigned(blocks)), dim3(kThreads), Tile::kSharedFloats * sizeof(float), stream}, product);
}

}  // namespace

PanelShape vector_nm_panels(index_t batch, const VectorNmView& weight, SparseTeam team) {
  if (is_warp(team)) return {batch, weight.columns, kPanel};
  return panel_shape(batch, weight.columns, team);
}

void vector_nm_spmm(index_t batch, const VectorNmView& weight, const float* x, const BiasActivation& epilogue, float* y,
                    float* panels, cudaStream_t stream, SparseTeam team) {
  require(batch > 0 && weight.rows > 0 && weight.columns > 0, "vector_nm_spmm: batch ", batch, ", weight ", weight.rows,
          " x ", weight.columns, "; all must be at least 1");
  require(is_vector_height(weight.height), "vector_nm_spmm: vectors of ", weight.height,
          " rows; there are kernels for 4, 8, 16 and 32");
  const PanelShape shape = vector_nm_panels(batch, weight, team);
  make_panels(shape, x, panels, team, stream);
  if (!is_warp(team)) return launch_by_threads(shape, weight, panels, epilogue, y, stream);
  const bool aligned = weight.rows % 4 == 0 && reinterpret_cast<std::uintptr_t>(y) % 16 == 0;
  const auto tiles = unsigned(ceil_div<index_t>(batch, kPanel));
  const VectorProduct product{batch, weight, panels, StraightEpilogue(epilogue), y, tiles, aligned};
  if (weight.height == 4) launch_by_warps<4>(product, stream);
  if (weight.height == 8) launch_by_warps<8>(product, stream);
  if (weight.height == 16) launch_by_warps<16>(product, stream);
  if (weight.height == 32) launch_by_warps<32>(product, stream);
  finish_curved(epilogue, batch * weight.rows, y, stream);
}

}  // namespace espalier::kernels
