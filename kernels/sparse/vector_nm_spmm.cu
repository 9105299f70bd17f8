// A block makes one group of rows for 64 samples. Its warps share out the kept columns, sixteen at a time, and each
// runs a pipeline of its own: cp.async gathers the columns' samples and the weights of the next steps while the last
// are multiplied, and no barrier but the warp's is needed until the sums of all warps are added, in fixed order. Within
// a warp, too, threads share out the columns where a register tile of 16 x 8 leaves lanes over. The gather itself is
// dense: a column's 64 samples are 256 contiguous bytes of a panel.
#include "kernels/sparse/vector_nm_spmm.h"

#include "kernels/grid.h"
#include "kernels/require.h"
#include "kernels/simt/async_copy.h"
#include "kernels/simt/vector_store.h"
#include "kernels/sparse/panel_tile.h"
#include "kernels/sparse/straight_epilogue.h"

namespace espalier::kernels {
namespace {

constexpr int kPanel = 64, kWarps = 4, kThreads = 32 * kWarps, kStages = 2, kDepth = VectorNmView::kAtOnce;

// Sixteen rows by eight samples to a thread: 128 multiply-adds for six 128-bit shared loads, as in the dense product.
// Fewer rows where the vectors are lower: then 4 / height + 1 / 2 bytes of shared memory to a multiply-add. FFMA in the
// main loop of sm_80 and sm_86: 91.2 % at height 32, 87 at 16, 80 at 8, 69 at 4. Modelled, W 4096 x 4096, 87.5 % zeros,
// batch 256, us on A100 and RTX 4090: 76 and 28 at height 32, 78 and 36 at 16, 86 and 56 at 8, bound there by the L2
// cache, of which each group reads its columns anew; the panels cost 9 and 12 more.
template <int kHeight_>
struct VectorTile {
  static constexpr int kHeight = kHeight_, kRows = kHeight < 16 ? kHeight : 16, kSamples = 8;
  static constexpr int kRowLanes = kHeight / kRows, kColumnLanes = kPanel / kSamples;
  static constexpr int kSlices = 32 / (kRowLanes * kColumnLanes);  // of a step: lanes that multiply other columns
  static constexpr int kBands = kRows / 4, kBand = 4 * kRowLanes;  // a thread's rows lie in fours, kBand apart
  static constexpr int kWeightsAt = kDepth * kPanel;               // of a stage: behind the columns of x
  static constexpr int kStage = kWeightsAt + kDepth * kHeight;     // floats
  static constexpr int kChunk = 4 * kPanel + 16;                   // four rows of sums: chunks begin 16 banks apart
  static constexpr int kExchange = kWarps * kSlices * kRowLanes * kChunk;
  static constexpr int kPipelines = kWarps * kStages * kStage;
  static constexpr int kSharedFloats = kPipelines > kExchange ? kPipelines : kExchange;
  static constexpr int kBlocks = kRows == 16 ? 2 : 3;  // to a multiprocessor: three of the highest spill
  using Sums = float[kRows][kSamples];
};

struct VectorProduct {
  index_t batch;
  VectorNmView weight;
  const float* panels;
  StraightEpilogue epilogue;
  float* y;
  unsigned panel_count;
  bool aligned;  // four rows of y are one store
};

// Where a thread stands in its warp's tile.
template <class Tile>
struct Place {
  int slice, row, column;  // lanes
  __device__ Place() {
    const int lane = int(threadIdx.x) % 32;
    slice = lane / (Tile::kRowLanes * Tile::kColumnLanes);
    row = lane / Tile::kColumnLanes % Tile::kRowLanes;
    column = lane % Tile::kColumnLanes;
  }
};

// Brings a warp's steps to shared memory, one request a step: columns of x, then the weights. The indices of a step are
// read one step before.
template <class Tile>
class Feed {
  static constexpr int kCopies = kPanel / 4, kPerLane = kDepth * kCopies / 32;  // 16-byte copies of a column
  static constexpr int kWeights = kDepth * Tile::kHeight, kColumnBytes = kPanel * int(sizeof(float));

 public:
  // A warp of a group that begins at `first` and has a step at least, not necessarily for each warp.
  __device__ Feed(const VectorNmView& weight, const float* panel, int first, int steps) : steps_(steps) {
    if (steps > 0) first += int(threadIdx.x) / 32 * kDepth;
    const int lane = int(threadIdx.x) % 32, k = lane / kCopies * kPerLane;
    samples_to_ = k * kPanel + lane % kCopies * 4;
    panel_ = panel + lane % kCopies * 4;
    columns_ = weight.column_indices + first + k;
    values_ = weight.values + index_t(first) * Tile::kHeight + 4 * lane;
    simt::forget_origin(panel_);  // else each of the gathered addresses is computed from the panel's beginning
    simt::forget_origin(values_);
    read_columns();
  }

  // Beyond the last step it fills the stage with zeros.
  __device__ void request(float* stage) {
    const bool exists = steps_ > 0;
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) {
      const char* from = reinterpret_cast<const char*>(panel_) + index_t(next_[i]) * kColumnBytes;
      simt::async_copy_or_zero<16>(stage + samples_to_ + i * kPanel, from, exists);
    }
    const int lane = int(threadIdx.x) % 32;
#pragma unroll
    for (int i = 0; i < kWeights; i += 128) {
      const bool inside = kWeights % 128 == 0 || 4 * lane < kWeights;
      if (inside) simt::async_copy_or_zero<16>(stage + Tile::kWeightsAt + 4 * lane + i, values_ + i, exists);
    }
    simt::async_commit();
    --steps_;
    columns_ += steps_ > 0 ? kWarps * kDepth : 0;
    values_ += kWarps * kWeights;
    read_columns();
  }

 private:
  __device__ void read_columns() {
#pragma unroll
    for (int i = 0; i < kPerLane; i += 4) {
      const int4 four = *reinterpret_cast<const int4*>(columns_ + i);
      next_[i] = four.x, next_[i + 1] = four.y, next_[i + 2] = four.z, next_[i + 3] = four.w;
    }
  }

  const float *panel_, *values_;  // of the lane, as are all its members
  const std::int32_t* columns_;
  int next_[kPerLane];
  int samples_to_, steps_;
};

template <class Tile>
__device__ inline void multiply_step(const float* stage, const Place<Tile>& at, typename Tile::Sums& sums) {
  const float* samples = stage + at.slice * kPanel + 4 * at.column;
  const float* weights = stage + Tile::kWeightsAt + at.slice * Tile::kHeight + 4 * at.row;
#pragma unroll
  for (int k = 0; k < kDepth; k += Tile::kSlices) {
    float left[Tile::kBands][4], right[2][4];
#pragma unroll
    for (int band = 0; band < Tile::kBands; ++band) {
      simt::load_together(weights + k * Tile::kHeight + band * Tile::kBand, left[band]);
    }
    simt::load_together(samples + k * kPanel, right[0]);
    simt::load_together(samples + k * kPanel + kPanel / 2, right[1]);
#pragma unroll
    for (int i = 0; i < Tile::kRows; ++i) {
#pragma unroll
      for (int j = 0; j < Tile::kSamples; ++j) sums[i][j] += left[i / 4][i % 4] * right[j / 4][j % 4];
    }
  }
}

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
  const int lane_row = int(threadIdx.x) % Tile::kRowLanes, place = int(threadIdx.x) / Tile::kRowLanes;
#pragma unroll
  for (int band = 0; band < Tile::kBands; ++band) {
    __syncthreads();  // nobody reads any more what was there
#pragma unroll
    for (int j = 0; j < Tile::kSamples; ++j) {
      const int i = 4 * band;
      simt::store_shared(mine + 4 * (j % 4 * (kPanel / 4) + j / 4 * Tile::kColumnLanes),
                         {sums[i][j], sums[i + 1][j], sums[i + 2][j], sums[i + 3][j]});
    }
    __syncthreads();
    if (place >= kPanel) continue;
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

// sums += the warp's share of the columns [first, first + kDepth * all_steps) of a group.
template <class Tile>
__device__ inline void multiply_group(const VectorNmView& weight, const float* panel, int first, int all_steps,
                                      const Place<Tile>& at, float* shared, typename Tile::Sums& sums) {
  const int warp = int(threadIdx.x) / 32, steps = (all_steps - warp + kWarps - 1) / kWarps;
  int read = warp * kStages * Tile::kStage, other = read + Tile::kStage;
  Feed<Tile> feed(weight, panel, first, steps);
  feed.request(shared + read);
#pragma unroll 1
  for (int round = ceil_div(all_steps, kWarps); round > 0; --round) {  // as many in all warps: those without a step
    simt::async_wait<0>();                                             // of their own add zeros
    __syncwarp();  // the step is there for all lanes, and all are done with the one before
    feed.request(shared + other);
    multiply_step<Tile>(shared + read, at, sums);
    const int done = read;
    read = other, other = done;
  }
  simt::async_wait<0>();
}

template <class Tile>
__global__ void __launch_bounds__(kThreads, Tile::kBlocks) vector_nm_spmm_kernel(VectorProduct product) {
  float* shared = simt::dynamic_shared<float>();
  const index_t panel = blockIdx.x % product.panel_count, group = blockIdx.x / product.panel_count;
  const VectorNmView& weight = product.weight;
  const int first = weight.group_offsets[group], steps = (weight.group_offsets[group + 1] - first) / kDepth;
  const Place<Tile> at;
  typename Tile::Sums sums = {};
  if (steps > 0) {
    const float* samples = product.panels + panel * weight.columns * kPanel;
    multiply_group<Tile>(weight, samples, first, steps, at, shared, sums);
  }
  add_and_store<Tile>(product, group * Tile::kHeight, panel * kPanel, at, sums, shared);
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
  const index_t blocks = product.weight.groups() * product.panel_count;
  require(blocks <= kMaxGridX, "vector_nm_spmm: a batch of ", product.batch, " needs more blocks than a grid has");
  simt::launch(vector_nm_spmm_kernel<Tile>,
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
  const VectorProduct product{batch, weight, panels, StraightEpilogue(epilogue), y, unsigned(shape.panels()), aligned};
  if (weight.height == 4) launch_by_warps<4>(product, stream);
  if (weight.height == 8) launch_by_warps<8>(product, stream);
  if (weight.height == 16) launch_by_warps<16>(product, stream);
  if (weight.height == 32) launch_by_warps<32>(product, stream);
  finish_curved(epilogue, batch * weight.rows, y, stream);
}

}  // namespace espalier::kernels
