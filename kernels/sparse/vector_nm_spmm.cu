// A block makes one group of rows for 64 or 96 samples. Its warps share out the kept columns, 16 or 8 at a time, and
// each runs a pipeline of its own: cp.async gathers the columns' samples and the weights of the next steps while the
// last are multiplied, and no barrier but the warp's is needed until the sums of all warps are added, in fixed order.
// Within a warp, too, threads share out the columns where a register tile of 16 rows leaves lanes over. The gather
// itself is dense: 32 samples of a column are at least 128 contiguous bytes of a panel.
#include "kernels/sparse/vector_nm_spmm.h"

#include "kernels/grid.h"
#include "kernels/require.h"
#include "kernels/simt/async_copy.h"
#include "kernels/simt/vector_store.h"
#include "kernels/sparse/panel_tile.h"
#include "kernels/sparse/straight_epilogue.h"

namespace espalier::kernels {
namespace {

constexpr int kRun = 32, kColumnLanes = kRun / 4;  // samples that lie side by side; lanes that have four each
constexpr int kRunBytes = kRun * int(sizeof(float));
constexpr int kWideHeight = 32;  // whose tiles may be 96 samples wide
constexpr int kWarps = 4, kThreads = 32 * kWarps, kStages = 2;

// Sixteen rows by eight samples to a thread: 128 multiply-adds for six 128-bit shared loads, as in the dense product;
// by twelve, 192 for seven, at height 32 where the batch is large. Fewer rows where the vectors are lower: then
// 4 / height + 1 / 2 bytes of shared memory to a multiply-add. FFMA in the main loop of sm_80 and sm_86: at height 32
// 90.7 % (twelve samples: 88.8), 88 at 16, 81 at 8, 71 at 4. Modelled, W 4096 x 4096, 87.5 % zeros, batch 256, us on
// A100 and RTX 4090: 76 and 28 at height 32, 78 and 36 at 16, 86 and 56 at 8, bound there by the L2 cache, of which
// each group reads its columns anew; the panels cost 9 and 12 more.
template <int kHeight_, int kRuns_ = 2>
struct VectorTile {
  static constexpr int kHeight = kHeight_, kRows = kHeight < 16 ? kHeight : 16, kRowLanes = kHeight / kRows;
  static constexpr int kRuns = kRuns_, kSamples = 4 * kRuns, kPanel = kRun * kRuns;  // of a thread, of the block
  static constexpr int kDepth = kRuns == 2 ? 16 : 8;                                 // columns of a step
  static constexpr int kSlices = 32 / (kRowLanes * kColumnLanes);  // of a step: lanes that multiply other columns
  static constexpr int kBands = kRows / 4, kBand = 4 * kRowLanes;  // a thread's rows lie in fours, kBand apart
  static constexpr int kWeightsAt = kDepth * kPanel;               // of a stage: behind the columns of x
  static constexpr int kStage = kWeightsAt + kDepth * kHeight;     // floats
  static constexpr int kChunk = 4 * kPanel + 16;                   // four rows of sums: chunks begin 16 banks apart
  static constexpr int kExchange = kWarps * kSlices * kRowLanes * kChunk;
  static constexpr int kPipelines = kWarps * kStages * kStage;
  static constexpr int kSharedFloats = kPipelines > kExchange ? kPipelines : kExchange;
  using Sums = float[kRows][kSamples];
  static_assert(VectorNmView::kAtOnce % kDepth == 0, "a group has whole steps");
};

// How a batch is cut: tiles of 96 samples, then tiles of 64. Wide ones read 0.58 bytes of shared memory to a
// multiply-add instead of 0.75, but are fewer, which leaves more of the last round idle. Modelled as above, all tiles
// narrow and with wide ones: batch 256, 76 and 28 us, 77 and 30; batch 1024, 276 and 107 us, 276 and 100.
struct SampleTiles {
  static constexpr int kWideRuns = 3, kRuns = 2;
  // Narrow blocks: 8 rounds of an A100's. Of no device in particular, so that all sum in the same order.
  static constexpr index_t kWorthIt = 1728;
  unsigned wide = 0, all = 0;

  SampleTiles(index_t batch, const VectorNmView& weight) : all(unsigned(ceil_div<index_t>(batch, kRuns * kRun))) {
    if (weight.height < kWideHeight || weight.groups() * all < kWorthIt) return;
    const index_t runs = ceil_div<index_t>(batch, kRun);
    const index_t narrow = runs % 3 == 0 ? 0 : 3 - runs % 3;  // runs = 3 * wide + 2 * narrow
    if (runs < kRuns * narrow) return;
    wide = unsigned((runs - kRuns * narrow) / kWideRuns), all = wide + unsigned(narrow);
  }
  index_t panel() const { return wide > 0 ? kRun : kRuns * kRun; }  // samples
  __device__ int first_run(unsigned tile) const { return int(tile < wide ? kWideRuns * tile : kRuns * tile + wide); }
};

struct VectorProduct {
  index_t batch;
  VectorNmView weight;
  const float* panels;
  StraightEpilogue epilogue;
  float* y;
  SampleTiles tiles;
  bool aligned;  // four rows of y are one store
  // Of x: from a column to the next, and from 32 samples of one to its next 32.
  int column_bytes;
  index_t run_bytes;
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

// Brings a warp's steps to shared memory, one request a step: columns of x, then the weights. The indices of a step are
// read one step before.
template <class Tile>
class Feed {
  static constexpr int kPerLane = Tile::kDepth * kColumnLanes / 32;  // columns of a step that a lane copies 16 bytes of
  static constexpr int kWeights = Tile::kDepth * Tile::kHeight;
  static constexpr int kColumnBytes = Tile::kPanel * int(sizeof(float));
  static constexpr bool kDense = Tile::kHeight < kWideHeight;  // a panel is a tile

 public:
  // A warp of a group that begins at `first` and has a step at least, not necessarily for each warp.
  __device__ Feed(const VectorProduct& product, int first_run, int first, int steps)
      : product_(product), steps_(steps) {
    const VectorNmView& weight = product.weight;
    if (steps > 0) first += int(threadIdx.x) / 32 * Tile::kDepth;
    const int lane = int(threadIdx.x) % 32, k = lane / kColumnLanes * kPerLane;
    samples_to_ = k * Tile::kPanel + lane % kColumnLanes * 4;
    columns_ = weight.column_indices + first + k;
    values_ = weight.values + index_t(first) * Tile::kHeight + 4 * lane;
    panel_ =
        reinterpret_cast<const char*>(product.panels + first_run * weight.columns * kRun + lane % kColumnLanes * 4);
    simt::forget_origin(panel_);  // else each of the gathered addresses is computed from the panel's beginning
    simt::forget_origin(values_);
    read_columns();
  }

  // Beyond the last step it fills the stage with zeros.
  __device__ void request(float* stage) {
    const bool exists = steps_ > 0;
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) {
      const char* from = simt::step_from(panel_, next_[i], kDense ? kColumnBytes : product_.column_bytes);
#pragma unroll
      for (int run = 0; run < Tile::kRuns; ++run, from += kDense ? index_t(kRunBytes) : product_.run_bytes) {
        simt::async_copy_or_zero<16>(stage + samples_to_ + i * Tile::kPanel + run * kRun, from, exists);
      }
    }
    const int lane = int(threadIdx.x) % 32;
#pragma unroll
    for (int i = 0; i < kWeights; i += 128) {
      const bool inside = kWeights % 128 == 0 || 4 * lane < kWeights;
      if (inside) simt::async_copy_or_zero<16>(stage + Tile::kWeightsAt + 4 * lane + i, values_ + i, exists);
    }
    simt::async_commit();
    --steps_;
    columns_ += steps_ > 0 ? kWarps * Tile::kDepth : 0;
    values_ += kWarps * kWeights;
    read_columns();
  }

 private:
  __device__ void read_columns() { simt::load_together(columns_, next_); }

  const VectorProduct& product_;
  const char* panel_;
  const float* values_;  // of the lane, as are all its members
  const std::int32_t* columns_;
  std::int32_t next_[kPerLane];
  int samples_to_, steps_;
};

template <class Tile>
__device__ inline void multiply_step(const float* stage, const Place<Tile>& at, typename Tile::Sums& sums) {
  const float* samples = stage + at.slice * Tile::kPanel + 4 * at.column;
  const float* weights = stage + Tile::kWeightsAt + at.slice * Tile::kHeight + 4 * at.row;
#pragma unroll
  for (int k = 0; k < Tile::kDepth; k += Tile::kSlices) {
    float left[Tile::kBands][4], right[Tile::kRuns][4];
#pragma unroll
    for (int band = 0; band < Tile::kBands; ++band) {
      simt::load_together(weights + k * Tile::kHeight + band * Tile::kBand, left[band]);
    }
#pragma unroll
    for (int run = 0; run < Tile::kRuns; ++run) {
      simt::load_together(samples + k * Tile::kPanel + run * kRun, right[run]);
    }
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
  const int lane_row = int(threadIdx.x) % Tile::kRowLanes, first_place = int(threadIdx.x) / Tile::kRowLanes;
#pragma unroll
  for (int band = 0; band < Tile::kBands; ++band) {
    __syncthreads();  // nobody reads any more what was there
#pragma unroll
    for (int j = 0; j < Tile::kSamples; ++j) {
      const int i = 4 * band;
      simt::store_shared(mine + 4 * (j % 4 * (Tile::kPanel / 4) + j / 4 * kColumnLanes),
                         {sums[i][j], sums[i + 1][j], sums[i + 2][j], sums[i + 3][j]});
    }
    __syncthreads();
    for (int place = first_place; place < Tile::kPanel; place += kThreads / Tile::kRowLanes) {
      float total[4] = {}, part[4];
#pragma unroll
      for (int i = 0; i < kWarps * Tile::kSlices; ++i) {
        simt::load_together(shared + (i * Tile::kRowLanes + lane_row) * Tile::kChunk + 4 * place, part);
#pragma unroll
        for (int r = 0; r < 4; ++r) total[r] += part[r];
      }
      const int sample = place % (Tile::kPanel / 4) * 4 + place / (Tile::kPanel / 4);
      store_rows(product, first_sample + sample, first_row + band * Tile::kBand + 4 * lane_row, total);
    }
  }
}

// sums += the warp's share of the columns [first, first + kDepth * all_steps) of a group.
template <class Tile>
__device__ inline void multiply_group(const VectorProduct& product, int first_run, int first, int all_steps,
                                      const Place<Tile>& at, float* shared, typename Tile::Sums& sums) {
  const int warp = int(threadIdx.x) / 32, steps = (all_steps - warp + kWarps - 1) / kWarps;
  int read = warp * kStages * Tile::kStage, other = read + Tile::kStage;
  Feed<Tile> feed(product, first_run, first, steps);
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
__device__ inline void make_tile(const VectorProduct& product, index_t group, int first_run) {
  static_assert(Tile::kSharedFloats <= VectorTile<Tile::kHeight>::kSharedFloats, "of which the launch has so many");
  float* shared = simt::dynamic_shared<float>();
  const std::int32_t* offsets = product.weight.group_offsets + group;
  const int first = offsets[0], steps = (offsets[1] - first) / Tile::kDepth;
  const Place<Tile> at;
  typename Tile::Sums sums = {};
  if (steps > 0) multiply_group<Tile>(product, first_run, first, steps, at, shared, sums);
  add_and_store<Tile>(product, group * Tile::kHeight, index_t(first_run) * kRun, at, sums, shared);
}

// To a multiprocessor: three of the highest spill.
template <int kHeight>
constexpr int kBlocks = kHeight < 16 ? 3 : 2;

template <int kHeight>
__global__ void __launch_bounds__(kThreads, kBlocks<kHeight>) vector_nm_spmm_kernel(VectorProduct product) {
  const unsigned group = blockIdx.x / product.tiles.all, tile = blockIdx.x % product.tiles.all;
  const int first_run = product.tiles.first_run(tile);
  if constexpr (kHeight == kWideHeight) {
    if (tile < product.tiles.wide)
      return make_tile<VectorTile<kHeight, SampleTiles::kWideRuns>>(product, group, first_run);
  }
  make_tile<VectorTile<kHeight>>(product, group, first_run);
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
  const index_t blocks = product.weight.groups() * product.tiles.all;
  require(blocks <= kMaxGridX, "vector_nm_spmm: a batch of ", product.batch, " needs more blocks than a grid has");
  simt::launch(vector_nm_spmm_kernel<kHeight>,
               {dim3(unsigned(blocks)), dim3(kThreads), Tile::kSharedFloats * sizeof(float), stream}, product);
}

}  // namespace

PanelShape vector_nm_panels(index_t batch, const VectorNmView& weight, SparseTeam team) {
  if (is_warp(team)) return {batch, weight.columns, SampleTiles(batch, weight).panel()};
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
  const SampleTiles tiles(batch, weight);
  const index_t run_bytes = tiles.wide > 0 ? weight.columns * kRunBytes : kRunBytes;
  const VectorProduct product{batch,    weight, panels,  StraightEpilogue(epilogue),
                              y,        tiles,  aligned, int(tiles.panel() * sizeof(float)),
                              run_bytes};
  if (weight.height == 4) launch_by_warps<4>(product, stream);
  if (weight.height == 8) launch_by_warps<8>(product, stream);
  if (weight.height == 16) launch_by_warps<16>(product, stream);
  if (weight.height == 32) launch_by_warps<32>(product, stream);
  finish_curved(epilogue, batch * weight.rows, y, stream);
}

}  // namespace espalier::kernels
