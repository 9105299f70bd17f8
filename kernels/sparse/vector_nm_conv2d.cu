// A team (a warp; on a CPU one thread with vectors) makes a strip of outputs of kRows filters of one vector group. A
// kept column costs it one read of the strip from shared memory, kRows weights and an offset that all lanes share, and
// kRows multiply-adds for each register of the strip.
#include "kernels/sparse/vector_nm_conv2d.h"

#include "kernels/grid.h"
#include "kernels/require.h"
#include "kernels/simt/unrolled.h"
#include "kernels/sparse/conv_tile.h"
#include "kernels/sparse/row_product.h"
#include "kernels/sparse/straight_epilogue.h"
#include "kernels/sparse/vector_nm_spmm.h"

namespace espalier::kernels {
namespace {

constexpr int kBlocksPerSm = 2;

// kRows filters of a vector group: the vectors that are left, and where the next one has their weights. kHeight: the
// height of the vectors, for addresses without arithmetic; 0: any.
template <int kHeight>
struct VectorRows {
  int next = 0, end = 0, any_height = 0;
  const float* values = nullptr;

  __device__ VectorRows(const VectorNmView& weight, int first, bool exist) : any_height(int(weight.height)) {
    if (!exist) return;
    const int group = first / height();
    next = weight.group_offsets[group], end = weight.group_offsets[group + 1];
    values = weight.values + index_t(next) * height() + (first - group * height());
  }
  __device__ int height() const { return kHeight > 0 ? kHeight : any_height; }
  __device__ void take(int count) { next += count, values += index_t(count) * height(); }
};

template <int kRows, class Strip>
__device__ inline void add_vector(const float* values, const float* memory, Strip (&sums)[kRows]) {
  float factors[kRows / 4][4];
#pragma unroll
  for (int r = 0; r < kRows / 4; ++r) simt::load_together(values + 4 * r, factors[r]);
  const Strip run = Strip::load(memory);
  simt::unrolled<kRows>([&](auto r) { sums[r].add_product(factors[r / 4][r % 4], run); });
}

// sums += the vectors whose offset lies below slab.limit; offsets ascend.
template <class Team, int kHeight, int kRows, class Strip>
__device__ inline void multiply_vectors(const std::int32_t* __restrict__ offsets, const DenseSlab& slab,
                                        VectorRows<kHeight>& rows, Strip (&sums)[kRows]) {
  if constexpr (Team::kLanes == 1) {
    for (; rows.next < rows.end && offsets[rows.next] < slab.limit; rows.take(1)) {
      add_vector(rows.values, slab.memory + offsets[rows.next] - slab.begin, sums);
    }
  } else {
    int count = Team::kLanes;
    while (count == Team::kLanes && rows.next < rows.end) {  // 32 offsets in one load, handed round by shuffles
      const int mine = rows.next + int(threadIdx.x), at = mine < rows.end ? offsets[mine] : slab.limit;
      count = __popc(__ballot_sync(~0u, at < slab.limit));
      const int offset = at - slab.begin;
      const int behind = __shfl_sync(~0u, offset, int(threadIdx.x) + 1);  // two vectors ask the same lane: one index
      const auto add = [&](int i, int at) { add_vector(rows.values + i * rows.height(), slab.memory + at, sums); };
#pragma unroll 1
      for (int i = 0; i + 1 < count; i += 2) {
        add(i, __shfl_sync(~0u, offset, i));
        add(i + 1, __shfl_sync(~0u, behind, i));
      }
      if (count % 2 != 0) add(count - 1, __shfl_sync(~0u, offset, count - 1));
      rows.take(count);
    }
  }
}

template <class Team, int kRegisters, int kRows, int kHeight>
__global__ void __launch_bounds__(Team::kLanes* Team::kPerBlock, kBlocksPerSm)
    vector_nm_conv2d_kernel(ConvGrid grid, VectorNmView weight, const float* __restrict__ x, StraightEpilogue epilogue,
                            float* __restrict__ y) {
  using Strip = StripOf<Team, kRegisters>;
  float* slab = simt::dynamic_shared<float>();
  const ConvTile tile(grid);
  const int go = int(grid.layout.channels), channels = int(grid.shape.channels_per_group());
  const OutputTile<Team> out(grid, tile, slab, y);
  for (int base = tile.first_filter; base < tile.last_filter; base += Team::kPerBlock * kRows) {
    const int first = base + int(threadIdx.y) * kRows;
    Strip sums[kRows];
    VectorRows<kHeight> rows(weight, first, first < tile.last_filter);
    for (int channel = 0; channel < channels; channel += go) {
      const int count = channels - channel < go ? channels - channel : go;
      if (base == tile.first_filter || go < channels) {  // else it is there since the first filters
        __syncthreads();
        load_slab<Team>(grid, tile, channel, count, x, slab);
        __syncthreads();
      }
      const int begin = channel * int(grid.layout.channel()), limit = begin + count * int(grid.layout.channel());
      multiply_vectors<Team>(weight.column_indices, {slab + threadIdx.x, begin, limit}, rows, sums);
    }
#pragma unroll 1
    for (int filter = first; filter < first + kRows && filter < tile.last_filter; ++filter) {
      simt::unrolled<kRows>([&](auto r) {  // sums live in registers, which have no index
        if (first + r != filter) return;
        sums[r].map([&](float sum) { return epilogue(sum, filter); });
        out.put(filter, 0, sums[r]);
      });
      out.complete(filter);
    }
  }
}

template <class Team, int kRows, int kHeight>
void launch(const Conv2dShape& shape, const CsrConv2dLayout& layout, const VectorNmView& weight, const float* x,
            const BiasActivation& epilogue, float* y, cudaStream_t stream) {
  const ConvGrid grid = conv_grid(shape, layout, Team::kPerBlock * kRows);
  require(grid.blocks() <= kMaxGridX, "vector_nm_conv2d: ", grid.blocks(), " blocks are too many; split the batch");
  const index_t registers = layout.strip / (Team::kLanes == 1 ? simt::kLanes : Team::kLanes);
  bool launched = false;
  simt::unrolled<Team::kLanes == 1 ? 2 : 4>([&](auto power) {
    constexpr int kRegisters = 1 << power;
    if (registers != kRegisters) return;
    simt::launch(vector_nm_conv2d_kernel<Team, kRegisters, kRows, kHeight>, conv_launch<Team>(grid, stream), grid,
                 weight, x, StraightEpilogue(epilogue), y);
    launched = true;
  });
  require(launched, "vector_nm_conv2d: a strip of ", layout.strip, " outputs; take vector_nm_conv2d_layout()");
}

}  // namespace

void vector_nm_conv2d(const Conv2dShape& shape, const CsrConv2dLayout& layout, const VectorNmView& weight,
                      const float* x, const BiasActivation& epilogue, float* y, cudaStream_t stream, SparseTeam team) {
  require(weight.rows == shape.filters && weight.columns == shape.patch(), "vector_nm_conv2d: weight is ", weight.rows,
          " x ", weight.columns, ", the shape wants ", shape.filters, " x ", shape.patch());
  require(is_vector_height(weight.height), "vector_nm_conv2d: vectors of ", weight.height,
          " rows; there are kernels for 4, 8, 16 and 32");
  require(vectors_fit(shape, weight.height), "vector_nm_conv2d: groups of ", shape.filters_per_group(),
          " filters do not end with a vector of ", weight.height);
  require(layout.pool == ConvPool::none || is_straight(epilogue.activation),
          "vector_nm_conv2d: pools behind none, relu and leaky_relu only");
  with_team(team, [&](auto chosen) {
    using Team = decltype(chosen);
    if (weight.height == 4) return launch<Team, 4, 4>(shape, layout, weight, x, epilogue, y, stream);
    if (weight.height == 8) return launch<Team, 8, 8>(shape, layout, weight, x, epilogue, y, stream);
    launch<Team, 8, 0>(shape, layout, weight, x, epilogue, y, stream);
  });
  finish_curved(epilogue, shape.output_size(), y, stream);
}

}  // namespace espalier::kernels
