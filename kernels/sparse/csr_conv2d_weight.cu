#include "kernels/sparse/csr_conv2d_weight.h"

#include "kernels/conv2d_weight_parts.h"
#include "kernels/require.h"
#include "kernels/simt/gathered_dots.h"
#include "kernels/sparse/conv_tile.h"
#include "kernels/sparse/grouped_sums.h"

namespace espalier::kernels {
namespace {

// More parts keep more blocks busy and cost a read of every one of them: 64 of lenet-5's 2,500 weights are 640 KB.
constexpr index_t kMostParts = simt::kEmulated ? 16 : 64, kWantedBlocks = simt::kEmulated ? 16 : 256;

// How the work is dealt: a block has a part of the images' tiles, a group and some of its filters.
struct WeightGrid {
  ConvGrid grid;
  index_t items = 1, parts = 1;  // image after image, tile after tile
  float *dw = nullptr, *db = nullptr;
  index_t step = 0;  // floats from part to part

  index_t blocks() const { return parts * grid.shape.groups * grid.filter_blocks; }
};

WeightGrid weight_grid(const Conv2dShape& shape, const CsrConv2dLayout& layout, index_t filters_at_once) {
  WeightGrid made{{shape, layout}};
  ConvGrid& grid = made.grid;
  grid.tiles_y = ceil_div(layout.out_rows, layout.tile_rows);
  grid.tiles_x = ceil_div(layout.out_columns, layout.tile_columns);
  made.items = shape.batch * grid.tiles_y * grid.tiles_x;
  made.parts = std::min(made.items, kMostParts);
  const index_t most = ceil_div(shape.filters_per_group(), filters_at_once);
  const index_t wanted = std::min(ceil_div(kWantedBlocks, made.parts * shape.groups), most);
  grid.filters_per_block = ceil_div(most, wanted) * filters_at_once;
  grid.filter_blocks = ceil_div(shape.filters_per_group(), grid.filters_per_block);
  return made;
}

// One block's share.
struct WeightShare {
  unsigned filter_block, group, part;
  index_t first, last;  // items

  __device__ explicit WeightShare(const WeightGrid& grid) {
    const unsigned filter_blocks = unsigned(grid.grid.filter_blocks), groups = unsigned(grid.grid.shape.groups);
    filter_block = blockIdx.x % filter_blocks;
    group = blockIdx.x / filter_blocks % groups;
    part = blockIdx.x / filter_blocks / groups;
    first = grid.items * part / grid.parts, last = grid.items * (part + 1) / grid.parts;
  }
  __device__ ConvTile tile(const ConvGrid& grid, index_t item) const {
    const unsigned tiles = unsigned(grid.tiles_y * grid.tiles_x);
    const unsigned image = unsigned(item) / tiles, place = unsigned(item) % tiles;
    return {grid, ((image * unsigned(grid.shape.groups) + group) * tiles + place) * unsigned(grid.filter_blocks) +
                      filter_block};
  }
};

// The kept weights of a filter whose channels the slab holds.
struct KeptRun {
  int begin, end;
};
__device__ inline KeptRun kept_run(const KeptOffsets& weight, int filter, bool whole, int begin, int limit) {
  const int first = weight.row_offsets[filter], last = weight.row_offsets[filter + 1];
  if (whole) return {first, last};
  return {lower_bound(weight.offsets, first, last, begin), lower_bound(weight.offsets, first, last, limit)};
}

__device__ inline void add_to(float& place, float value, bool fresh) { place = fresh ? value : place + value; }

// A strip of dy in registers, zero where a row of the tile has ended.
template <int kRegisters>
struct GradientStrip {
  float lane[kRegisters];

  __device__ GradientStrip(const ConvGrid& grid, const ConvTile& tile, int filter, int first,
                           const float* __restrict__ dy) {
    const unsigned pitch = unsigned(grid.layout.pitch);
    const int width = int(grid.shape.out_width());
    const float* from =
        dy + ((tile.image * grid.shape.filters + filter) * grid.shape.out_height() + tile.row) * width + tile.column;
#pragma unroll
    for (int j = 0; j < kRegisters; ++j) {
      const unsigned position = unsigned(first) + threadIdx.x + unsigned(WarpTeam::kLanes * j);
      const int row = int(position / pitch), column = int(position % pitch);
      lane[j] = row < tile.rows && column < tile.columns ? from[row * width + column] : 0.0f;
    }
  }
  __device__ float dot(const float* run) const {
    float sum = 0.0f;
#pragma unroll
    for (int j = 0; j < kRegisters; ++j) sum += lane[j] * run[j * WarpTeam::kLanes];
    return sum;
  }
  __device__ float sum() const {
    float sum = 0.0f;
#pragma unroll
    for (int j = 0; j < kRegisters; ++j) sum += lane[j];
    return sum_over_warp(sum);
  }
};

// Every weight is always summed by the same lane. Lanes read the offsets of a group together, a group ahead, and hand
// them round, which takes fewer instructions than to read each in every lane, and no wait. Modelled, 90 % zeros, A100
// and RTX 4090: 64 -> 64, 3x3 at 28 x 28, batch 16, 76 and 29 us, 99 and 36 without.
template <int kRegisters>
__device__ inline void multiply_run(const std::int32_t* __restrict__ offsets, const KeptRun& run,
                                    const GradientStrip<kRegisters>& dy, const float* slab, bool fresh, float* dw) {
  if (run.begin >= run.end) return;
  const auto offset_of_lane = [&](int i) { return offsets[min(i + int(threadIdx.x) % kSumGroup, run.end - 1)]; };
  int next = offset_of_lane(run.begin);
  for (int i = run.begin; i < run.end; i += kSumGroup) {
    const int now = next;
    next = offset_of_lane(i + kSumGroup);
    float sums[kSumGroup];
#pragma unroll
    for (int n = 0; n < kSumGroup; ++n) sums[n] = dy.dot(slab + __shfl_sync(~0u, now, n));
    const float sum = sum_group_over_warp(sums);
    const int mine = i + int(threadIdx.x) / 4;
    if (threadIdx.x % 4 == 0 && mine < run.end) add_to(dw[mine], sum, fresh);
  }
}

template <int kRegisters>
__global__ void __launch_bounds__(WarpTeam::kLanes* WarpTeam::kPerBlock, 2)
    csr_conv2d_weight_kernel(WeightGrid grid, KeptOffsets weight, const float* __restrict__ x,
                             const float* __restrict__ dy) {
  float* slab = simt::dynamic_shared<float>();
  const WeightShare share(grid);
  float *dw = grid.dw + share.part * grid.step, *db = grid.db == nullptr ? nullptr : grid.db + share.part * grid.step;
  const CsrConv2dLayout& layout = grid.grid.layout;
  const int lane = int(threadIdx.x), channels = int(grid.grid.shape.channels_per_group()), go = int(layout.channels);
  // By a shuffle, as the runs: so that nvcc knows them the same in all lanes.
  const int warp = __shfl_sync(~0u, int(threadIdx.y), 0);
  for (index_t item = share.first; item < share.last; ++item) {
    const ConvTile tile = share.tile(grid.grid, item);
    for (int channel = 0; channel < channels; channel += go) {
      const int count = channels - channel < go ? channels - channel : go;
      __syncthreads();
      load_slab<WarpTeam>(grid.grid, tile, channel, count, x, slab);
      __syncthreads();
      const int begin = channel * int(layout.channel()), limit = begin + count * int(layout.channel());
      for (int f = tile.first_filter + warp; f < tile.last_filter; f += WarpTeam::kPerBlock) {
        const KeptRun found = kept_run(weight, f, go >= channels, begin, limit);
        const KeptRun run{__shfl_sync(~0u, found.begin, 0), __shfl_sync(~0u, found.end, 0)};
        for (int s = 0; s < int(layout.strips); ++s) {
          const int first = s * kRegisters * WarpTeam::kLanes;
          const GradientStrip<kRegisters> strip(grid.grid, tile, f, first, dy);
          const bool fresh = item == share.first && s == 0;
          multiply_run(weight.offsets, run, strip, slab + first + lane - begin, fresh, dw);
          if (db == nullptr || channel > 0) continue;
          const float sum = strip.sum();
          if (lane == 0) add_to(db[f], sum, fresh);
        }
      }
    }
  }
}

// A filter's dy in one piece, rows `pitch` apart with zeros between them, up to whole vectors; rows may spoil what
// follows them, which is written after them.
template <class Team>
__device__ inline void stage_gradient(const ConvGrid& grid, const ConvTile& tile, int filter, const float* dy,
                                      int staged, float* to) {
  const int pitch = int(grid.layout.pitch);
  const index_t width = grid.shape.out_width();
  const float* from =
      dy + ((tile.image * grid.shape.filters + filter) * grid.shape.out_height() + tile.row) * width + tile.column;
  const float* const end_of_dy = dy + grid.shape.output_size();
  int at = 0;
  for (int row = 0; row < tile.rows; ++row, from += width) {
    simt::copy_row(from, end_of_dy - from, to + at, tile.columns + simt::kLanes, tile.columns);
    at += tile.columns;
    for (const int end = row * pitch + pitch; at < end && at < staged; ++at) to[at] = 0.0f;
  }
  for (; at < staged; ++at) to[at] = 0.0f;
}

template <class Team>
__device__ inline float sum_of(const float* staged, int vectors) {
  float lanes[simt::kLanes] = {}, sum = 0.0f;
  for (int v = 0; v < vectors; ++v) {
    for (int lane = 0; lane < simt::kLanes; ++lane) lanes[lane] += staged[v * simt::kLanes + lane];
  }
  for (const float lane : lanes) sum += lane;
  return sum;
}

template <class Team>
__global__ void csr_conv2d_weight_by_threads_kernel(WeightGrid grid, KeptOffsets weight, const float* __restrict__ x,
                                                    const float* __restrict__ dy) {
  float* slab = simt::dynamic_shared<float>();
  float* staged = slab + grid.grid.layout.slab_floats;
  const WeightShare share(grid);
  float *dw = grid.dw + share.part * grid.step, *db = grid.db == nullptr ? nullptr : grid.db + share.part * grid.step;
  const CsrConv2dLayout& layout = grid.grid.layout;
  const int channels = int(grid.grid.shape.channels_per_group()), go = int(layout.channels);
  const int vectors = int(ceil_div<index_t>(layout.positions(), simt::kLanes));
  for (index_t item = share.first; item < share.last; ++item) {
    const ConvTile tile = share.tile(grid.grid, item);
    for (int channel = 0; channel < channels; channel += go) {
      const int count = channels - channel < go ? channels - channel : go;
      load_slab<Team>(grid.grid, tile, channel, count, x, slab);
      const int begin = channel * int(layout.channel()), limit = begin + count * int(layout.channel());
      for (int f = tile.first_filter; f < tile.last_filter; ++f) {
        const KeptRun run = kept_run(weight, f, go >= channels, begin, limit);
        stage_gradient<Team>(grid.grid, tile, f, dy, vectors * simt::kLanes, staged);
        if (db != nullptr && channel == 0) add_to(db[f], sum_of<Team>(staged, vectors), item == share.first);
        for (int i = run.begin; i < run.end; i += simt::kLanes) {
          const int these = run.end - i < simt::kLanes ? run.end - i : simt::kLanes;
          float dots[simt::kLanes];
          simt::gathered_dots<simt::kLanes, 1>({staged, simt::kLanes}, {slab - begin, simt::kLanes}, vectors,
                                               weight.offsets + i, these, dots);
          for (int n = 0; n < these; ++n) add_to(dw[i + n], dots[n], item == share.first);
        }
      }
    }
  }
}

// Strips of as many registers as make the fewest instructions: a strip costs 3 a weight beside its products.
constexpr int kRegisterCounts[] = {1, 2, 4, 6, 8};

int strip_registers(index_t positions) {
  int best = 1;
  index_t best_cost = 0;
  for (const int registers : kRegisterCounts) {
    const index_t cost = ceil_div<index_t>(positions, registers * WarpTeam::kLanes) * (registers + 3);
    if (registers == 1 || cost <= best_cost) best = registers, best_cost = cost;
  }
  return best;
}

// The layout with strips of our own; what they read beyond the planes is cleared like the rest.
CsrConv2dLayout with_strips(CsrConv2dLayout layout, int registers) {
  const index_t before = layout.strip * layout.strips;
  layout.strip = registers * WarpTeam::kLanes;
  layout.strips = ceil_div(layout.positions(), layout.strip);
  layout.slab_floats += std::max<index_t>(0, layout.strip * layout.strips - before);
  layout.staging_floats = 0;
  return layout;
}

void launch_by_warps(WeightGrid grid, const KeptOffsets& weight, const float* x, const float* dy, cudaStream_t stream) {
  const int registers = strip_registers(grid.grid.layout.positions());
  grid.grid.layout = with_strips(grid.grid.layout, registers);
  simt::Launch launch = conv_launch<WarpTeam>(grid.grid, stream);
  launch.grid = dim3(unsigned(grid.blocks()));
  const auto with = [&]<int kRegisters>() {
    if (registers == kRegisters) simt::launch(csr_conv2d_weight_kernel<kRegisters>, launch, grid, weight, x, dy);
  };
  with.template operator()<1>(), with.template operator()<2>(), with.template operator()<4>();
  with.template operator()<6>(), with.template operator()<8>();
}

}  // namespace

index_t csr_conv2d_weight_scratch(const Conv2dShape& shape, const CsrConv2dLayout& layout, index_t kept,
                                  SparseTeam team) {
  const index_t parts = weight_grid(shape, layout, is_warp(team) ? WarpTeam::kPerBlock : ThreadTeam::kPerBlock).parts;
  return parts == 1 ? 0 : parts * (kept + shape.filters);
}

void csr_conv2d_weight(const Conv2dShape& shape, const CsrConv2dLayout& layout, const KeptOffsets& weight,
                       const float* x, const float* dy, float* dw, float* db, float* scratch, cudaStream_t stream,
                       SparseTeam team) {
  require(layout.pool == ConvPool::none, "csr_conv2d_weight: the layout is that of a pooled convolution");
  require(shape.batch > 0 && weight.kept > 0, "csr_conv2d_weight: batch ", shape.batch, ", ", weight.kept,
          " kept weights; both must be at least 1");
  with_team(team, [&](auto chosen) {
    using Team = decltype(chosen);
    WeightGrid grid = weight_grid(shape, layout, Team::kPerBlock);
    require(grid.items * shape.groups * grid.grid.filter_blocks <= INT32_MAX, "csr_conv2d_weight: ", grid.items,
            " tiles of the batch are too many; split it");
    WeightParts parts{.dw = dw, .db = db, .weights = weight.kept, .parts = grid.parts};
    parts.size = weight.kept + (db == nullptr ? 0 : shape.filters);
    parts.by_panels = Team::kLanes == 1;
    grid.dw = dw, grid.db = db;
    if (grid.parts > 1) {
      parts.partial = grid.dw = scratch;
      if (db != nullptr) grid.db = scratch + weight.kept;
      parts.step = grid.step = parts.size;
    }
    if constexpr (Team::kLanes == 1) {
      simt::Launch launch = conv_launch<Team>(grid.grid, stream);
      launch.grid = dim3(unsigned(grid.blocks()));
      simt::launch(csr_conv2d_weight_by_threads_kernel<Team>, launch, grid, weight, x, dy);
    } else {
      launch_by_warps(grid, weight, x, dy, stream);
    }
    sum_weight_parts(parts, stream);
  });
}

}  // namespace espalier::kernels
