#include "kernels/sparse/csr_spmm.h"

#include "kernels/grid.h"
#include "kernels/require.h"
#include "kernels/simt/strip.h"
#include "kernels/sparse/row_product.h"
#include "kernels/sparse/store_panel.h"

namespace espalier::kernels {
namespace {

// Samples up to which gathering wins, although a panel's nonzeros multiply whole runs (CPU: 300 x 784 at 90 %, 2
// samples: 24 us gathered, 13 us by a padded panel).
index_t largest_gather(SparseTeam team) { return is_warp(team) ? 4 : 1; }

// GPU: 8 warps of 8 rows share a slab of 32 KiB, so two blocks and more fit on every architecture.
template <int kRegisters>
struct WarpPanel {
  static constexpr int kLanes = 32, kWidth = kRegisters;  // threads across a panel, samples of each
  static constexpr int kRows = 8, kTeams = 8;             // rows of W per warp, warps per block
  static constexpr int kDepth = 256 / kRegisters;         // columns of W that a slab covers
};
// CPU: the transposing store wants as many rows as a vector has lanes.
template <int kRegisters>
struct ThreadPanel {
  static constexpr int kLanes = 1, kWidth = kRegisters * simt::kLanes;
  static constexpr int kRows = simt::kLanes, kTeams = 1;
  static constexpr int kDepth = 0;  // no slab: the caches do its work
};

template <class Tile>
constexpr int kPanel = Tile::kLanes* Tile::kWidth;

// shared [depth, kPanel] = panel rows [first, first + depth), which are contiguous
template <class Tile>
__device__ inline void load_slab(const float* __restrict__ panel, int first, int depth, float* shared) {
  const float4* from = reinterpret_cast<const float4*>(panel + index_t(first) * kPanel<Tile>);
  float4* to = reinterpret_cast<float4*>(shared);
  const int thread = int(threadIdx.y) * Tile::kLanes + int(threadIdx.x);
  for (int i = thread; i < depth * kPanel<Tile> / 4; i += Tile::kLanes * Tile::kTeams) to[i] = from[i];
}

template <class Tile>
__global__ void __launch_bounds__(Tile::kLanes* Tile::kTeams)
    csr_spmm_kernel(index_t batch, CsrView weight, const float* __restrict__ panels, BiasActivation epilogue,
                    float* __restrict__ y) {
  using Strip = simt::Strip<Tile::kWidth>;
  const int first_row = (int(blockIdx.x) * Tile::kTeams + int(threadIdx.y)) * Tile::kRows;
  const float* panel = panels + blockIdx.y * weight.columns * kPanel<Tile>;
  Strip sums[Tile::kRows];
  RowCursor rows[Tile::kRows];
#pragma unroll
  for (int r = 0; r < Tile::kRows; ++r) {
    if (first_row + r < weight.rows) {
      rows[r] = {weight.row_offsets[first_row + r], weight.row_offsets[first_row + r + 1]};
    }
  }
  if constexpr (Tile::kDepth == 0) {
    const DenseSlab slab{panel, 0, int(weight.columns)};
    for (int r = 0; r < Tile::kRows; ++r) {
      multiply_row<1, kPanel<Tile>, true>(weight.column_indices, weight.values, slab, rows[r], sums[r]);
    }
  } else {
    __shared__ float4 shared[Tile::kDepth * kPanel<Tile> / 4];
    float* memory = reinterpret_cast<float*>(shared);
    for (int k = 0; k < weight.columns; k += Tile::kDepth) {
      const int depth = weight.columns - k < Tile::kDepth ? int(weight.columns) - k : Tile::kDepth;
      load_slab<Tile>(panel, k, depth, memory);
      __syncthreads();
      const DenseSlab slab{memory + threadIdx.x * Tile::kWidth, k, k + depth};
#pragma unroll
      for (int r = 0; r < Tile::kRows; ++r) {
        multiply_row<32, kPanel<Tile>, false>(weight.column_indices, weight.values, slab, rows[r], sums[r]);
      }
      __syncthreads();
    }
  }
  const PanelStore store{batch, weight.rows, index_t(blockIdx.y) * kPanel<Tile> + threadIdx.x * Tile::kWidth,
                         first_row};
  store_sums(store, epilogue, sums, y);
}

// Rows that one team gathers one after the other: a block of one CPU thread needs more work than one row.
template <class Team>
constexpr int kGatherRows = Team::kLanes == 1 ? 32 : 1;

// sums[s] = x at offsets[s] times one row of W, complete in every lane of the team.
template <class Team, int kSamples>
__device__ inline void gather_row(const CsrView& weight, index_t row, const float* __restrict__ x,
                                  const index_t (&offsets)[kSamples], float (&sums)[kSamples]) {
  constexpr int kLanes = Team::kLanes;
  constexpr int kApart = kLanes == 1 ? 4 : 1;  // independent sums: a CPU core overlaps them, warps overlap each other
  float apart[kApart][kSamples] = {};
  const auto add = [&](int at, float(&to)[kSamples]) {
    const float value = weight.values[at];
    const float* from = x + weight.column_indices[at];
    simt::unrolled<kSamples>([&](auto s) { to[s] += value * from[offsets[s]]; });
  };
  const int end = weight.row_offsets[row + 1];
  int i = weight.row_offsets[row] + int(threadIdx.x);
  for (; i + (kApart - 1) * kLanes < end; i += kApart * kLanes) {
    simt::unrolled<kApart>([&](auto a) { add(i + a * kLanes, apart[a]); });
  }
  for (; i < end; i += kLanes) add(i, apart[0]);
  simt::unrolled<kSamples>([&](auto s) {
    sums[s] = 0.0f;
    simt::unrolled<kApart>([&](auto a) { sums[s] += apart[a][s]; });
    for (int distance = kLanes / 2; distance > 0; distance /= 2) sums[s] += __shfl_xor_sync(~0u, sums[s], distance);
  });
}

template <class Team, int kSamples>
__global__ void csr_gather_kernel(index_t batch, CsrView weight, const float* __restrict__ x, BiasActivation epilogue,
                                  float* __restrict__ y) {
  const index_t first_row = (index_t(blockIdx.x) * Team::kPerBlock + threadIdx.y) * kGatherRows<Team>;
  const index_t first = index_t(blockIdx.y) * kSamples;
  index_t offsets[kSamples];  // samples beyond the batch repeat the first one and are not written
  simt::unrolled<kSamples>([&](auto s) { offsets[s] = first + s < batch ? (first + s) * weight.columns : 0; });
  for (index_t row = first_row; row < first_row + kGatherRows<Team> && row < weight.rows; ++row) {
    float sums[kSamples];
    gather_row<Team>(weight, row, x, offsets, sums);
    const float bias = epilogue.bias == nullptr ? 0.0f : epilogue.bias[row];
    simt::unrolled<kSamples>([&](auto s) {
      if (first + s >= batch || threadIdx.x != 0) return;
      y[(first + s) * weight.rows + row] = apply_activation(epilogue.activation, sums[s] + bias, epilogue.slope);
    });
  }
}

template <class Tile>
void launch_panels(index_t batch, const CsrView& weight, const float* panels, const BiasActivation& epilogue, float* y,
                   cudaStream_t stream) {
  const index_t rows_per_block = Tile::kRows * Tile::kTeams;
  simt::launch(csr_spmm_kernel<Tile>,
               {dim3(unsigned(ceil_div(weight.rows, rows_per_block)), unsigned(ceil_div<index_t>(batch, kPanel<Tile>))),
                dim3(Tile::kLanes, Tile::kTeams), 0, stream},
               batch, weight, panels, epilogue, y);
}

template <template <int> class Panel>
void launch_panels(const PanelShape& shape, const CsrView& weight, const float* panels, const BiasActivation& epilogue,
                   float* y, cudaStream_t stream) {
  if (shape.width == kPanel<Panel<1>>) return launch_panels<Panel<1>>(shape.batch, weight, panels, epilogue, y, stream);
  if (shape.width == kPanel<Panel<2>>) return launch_panels<Panel<2>>(shape.batch, weight, panels, epilogue, y, stream);
  launch_panels<Panel<4>>(shape.batch, weight, panels, epilogue, y, stream);
}

template <class Team, int kSamples>
void launch_gather(index_t batch, const CsrView& weight, const float* x, const BiasActivation& epilogue, float* y,
                   cudaStream_t stream) {
  const index_t groups = ceil_div<index_t>(batch, kSamples);
  require(groups <= kMaxGridYZ, "csr_spmm: a batch of ", batch, " needs a workspace; see csr_spmm_workspace()");
  simt::launch(csr_gather_kernel<Team, kSamples>,
               {dim3(unsigned(ceil_div<index_t>(weight.rows, Team::kPerBlock * kGatherRows<Team>)), unsigned(groups)),
                dim3(Team::kLanes, Team::kPerBlock), 0, stream},
               batch, weight, x, epilogue, y);
}

template <class Team>
void launch_gather(index_t batch, const CsrView& weight, const float* x, const BiasActivation& epilogue, float* y,
                   cudaStream_t stream) {
  if (batch == 1) return launch_gather<Team, 1>(batch, weight, x, epilogue, y, stream);
  if (batch == 2) return launch_gather<Team, 2>(batch, weight, x, epilogue, y, stream);
  launch_gather<Team, 4>(batch, weight, x, epilogue, y, stream);
}

}  // namespace

index_t csr_spmm_workspace(index_t batch, const CsrView& weight, SparseTeam team) {
  return batch <= largest_gather(team) ? 0 : panel_shape(batch, weight.columns, team).floats();
}

void csr_spmm(index_t batch, const CsrView& weight, const float* x, const BiasActivation& epilogue, float* y,
              Workspace workspace, cudaStream_t stream, SparseTeam team) {
  require(batch > 0 && weight.rows > 0 && weight.columns > 0, "csr_spmm: batch ", batch, ", weight ", weight.rows,
          " x ", weight.columns, "; all must be at least 1");
  const PanelShape shape = panel_shape(batch, weight.columns, team);
  require(shape.features * shape.width <= INT32_MAX, "csr_spmm: ", weight.columns, " columns overflow 32-bit offsets");
  const index_t wanted = csr_spmm_workspace(batch, weight, team);
  const bool gather = wanted == 0 || workspace.floats < wanted;
  if (!gather) make_panels(shape, x, workspace.data, team, stream);
  with_team(team, [&](auto chosen) {
    using Team = decltype(chosen);
    if (gather) return launch_gather<Team>(batch, weight, x, epilogue, y, stream);
    if constexpr (Team::kLanes == 32) {
      launch_panels<WarpPanel>(shape, weight, workspace.data, epilogue, y, stream);
    } else {
      launch_panels<ThreadPanel>(shape, weight, workspace.data, epilogue, y, stream);
    }
  });
}

}  // namespace espalier::kernels
