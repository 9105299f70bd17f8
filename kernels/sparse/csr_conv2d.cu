#include "kernels/sparse/csr_conv2d.h"

#include <climits>

#include "kernels/grid.h"
#include "kernels/require.h"
#include "kernels/simt/strip.h"
#include "kernels/simt/unrolled.h"
#include "kernels/sparse/conv_tile.h"
#include "kernels/sparse/row_product.h"

namespace espalier::kernels {
namespace {

// As many as shared memory lets in anyway; without the hint ptxas spills for more.
constexpr int kBlocksPerSm = 2;

__global__ void csr_conv2d_offsets_kernel(Conv2dShape shape, CsrConv2dLayout layout, index_t count,
                                          const std::int32_t* __restrict__ column_indices,
                                          std::int32_t* __restrict__ offsets) {
  for_each_element(count, [&](index_t i) { offsets[i] = slab_offset(shape, layout, column_indices[i]); });
}

// All channels of the group lie in shared memory: a team takes filter after filter, strip after strip.
template <class Team, int kRegisters>
__global__ void __launch_bounds__(Team::kLanes* Team::kPerBlock, kBlocksPerSm)
    csr_conv2d_kernel(ConvGrid grid, CsrView weight, const float* __restrict__ x, BiasActivation epilogue,
                      float* __restrict__ y) {
  using Strip = StripOf<Team, kRegisters>;
  float* slab = simt::dynamic_shared<float>();
  const ConvTile tile(grid);
  load_slab<Team>(grid, tile, 0, grid.layout.channels, x, slab);
  __syncthreads();
  const int team = int(threadIdx.y), lane = int(threadIdx.x), strip_size = int(grid.layout.strip);
  OutputTile<Team> out(grid, tile, slab, y);
  for (int filter = tile.first_filter + team; filter < tile.last_filter; filter += Team::kPerBlock) {
    for (int s = 0; s < int(grid.layout.strips); ++s) {
      Strip sum;
      RowCursor row{weight.row_offsets[filter], weight.row_offsets[filter + 1]};
      const DenseSlab run{slab + s * strip_size + lane, 0, INT_MAX};
      multiply_row<Team::kLanes, 1, true>(weight.column_indices, weight.values, run, row, sum);
      finish(epilogue, filter, sum);
      out.put(filter, s * strip_size, sum);
    }
    out.complete(filter);
  }
}

// The channels come in several goes: a team keeps the sums of kFilters filters from go to go. The tile is one strip.
template <class Team, int kRegisters, int kFilters>
__global__ void __launch_bounds__(Team::kLanes* Team::kPerBlock, kBlocksPerSm)
    csr_conv2d_in_goes_kernel(ConvGrid grid, CsrView weight, const float* __restrict__ x, BiasActivation epilogue,
                              float* __restrict__ y) {
  using Strip = StripOf<Team, kRegisters>;
  float* slab = simt::dynamic_shared<float>();
  const ConvTile tile(grid);
  const int team = int(threadIdx.y), lane = int(threadIdx.x);
  const int go = int(grid.layout.channels), channels = int(grid.shape.channels_per_group());
  OutputTile<Team> out(grid, tile, slab, y);
  for (int base = tile.first_filter; base < tile.last_filter; base += Team::kPerBlock * kFilters) {
    const int first = base + team * kFilters;
    Strip sums[kFilters];
    RowCursor rows[kFilters];
    simt::unrolled<kFilters>([&](auto f) {
      if (first + f < tile.last_filter) rows[f] = {weight.row_offsets[first + f], weight.row_offsets[first + f + 1]};
    });
    for (int channel = 0; channel < channels; channel += go) {
      const int count = channels - channel < go ? channels - channel : go;
      __syncthreads();
      load_slab<Team>(grid, tile, channel, count, x, slab);
      __syncthreads();
      const int begin = channel * int(grid.layout.channel()), limit = begin + count * int(grid.layout.channel());
      const DenseSlab run{slab + lane, begin, limit};
      simt::unrolled<kFilters>([&](auto f) {
        multiply_row<Team::kLanes, 1, false>(weight.column_indices, weight.values, run, rows[f], sums[f]);
      });
    }
    simt::unrolled<kFilters>([&](auto f) {
      if (first + f >= tile.last_filter) return;
      finish(epilogue, first + f, sums[f]);
      out.put(first + f, 0, sums[f]);
      out.complete(first + f);
    });
  }
}

template <class Team, int kRegisters>
void launch(const ConvGrid& grid, const CsrView& weight, const float* x, const BiasActivation& epilogue, float* y,
            cudaStream_t stream) {
  constexpr int kFilters = 4;
  const simt::Launch where = conv_launch<Team>(grid, stream);
  if (!grid.layout.in_goes) {
    simt::launch(csr_conv2d_kernel<Team, kRegisters>, where, grid, weight, x, epilogue, y);
  } else if constexpr (kRegisters <= 8 && (kRegisters & (kRegisters - 1)) == 0) {
    simt::launch(csr_conv2d_in_goes_kernel<Team, kRegisters, kFilters>, where, grid, weight, x, epilogue, y);
  }
}

}  // namespace

void csr_conv2d_offsets(const Conv2dShape& shape, const CsrConv2dLayout& layout, index_t count,
                        const std::int32_t* column_indices, std::int32_t* offsets, cudaStream_t stream) {
  require_offsets_fit(shape, layout);
  if (count == 0) return;
  simt::launch(csr_conv2d_offsets_kernel, elements_grid(count, stream), shape, layout, count, column_indices, offsets);
}

void csr_conv2d(const Conv2dShape& shape, const CsrConv2dLayout& layout, const CsrView& weight_by_offset,
                const float* x, const BiasActivation& epilogue, float* y, cudaStream_t stream, SparseTeam team) {
  require(weight_by_offset.rows == shape.filters && weight_by_offset.columns == shape.patch(), "csr_conv2d: weight is ",
          weight_by_offset.rows, " x ", weight_by_offset.columns, ", the shape wants ", shape.filters, " x ",
          shape.patch());
  with_team(team, [&](auto chosen) {
    using Team = decltype(chosen);
    const ConvGrid grid = conv_grid(shape, layout, Team::kPerBlock);
    require(grid.blocks() <= kMaxGridX, "csr_conv2d: ", grid.blocks(), " blocks are too many; split the batch");
    const int registers = int(layout.strip / team_width(team));
    bool launched = false;
    simt::unrolled<Team::kLanes == 1 ? 12 : 8>([&](auto i) {
      if (registers != i + 1) return;
      launch<Team, i + 1>(grid, weight_by_offset, x, epilogue, y, stream);
      launched = true;
    });
    require(launched, "csr_conv2d: a strip of ", layout.strip, " outputs; the layout belongs to another kind of team");
  });
}

}  // namespace espalier::kernels
