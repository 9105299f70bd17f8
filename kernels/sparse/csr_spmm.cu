#include "kernels/sparse/csr_spmm.h"

#include "kernels/simt/unrolled.h"
#include "kernels/sparse/panel_tile.h"

namespace espalier::kernels {
namespace {

// Samples up to which gathering wins, although a panel's nonzeros multiply whole runs (CPU: 300 x 784 at 90 %, 2
// samples: 24 us gathered, 13 us by a padded panel).
index_t largest_gather(SparseTeam team) { return is_warp(team) ? 4 : 1; }

// GPU: 8 warps of 8 rows share a slab of 32 KiB, so two blocks and more fit on every architecture. CPU: no slab, the
// caches do its work.
template <class Tile>
constexpr int kDepth = Tile::kLanes == 1 ? 0 : 256 / Tile::kWidth;  // columns of W that a slab covers

// shared [depth, kPanel] = panel rows [first, first + depth), which are contiguous
template <class Tile>
__device__ inline void load_slab(const float* __restrict__ panel, int first, int depth, float* shared) {
  const float4* from = reinterpret_cast<const float4*>(panel + index_t(first) * Tile::kPanel);
  float4* to = reinterpret_cast<float4*>(shared);
  const int thread = int(threadIdx.y) * Tile::kLanes + int(threadIdx.x);
  for (int i = thread; i < depth * Tile::kPanel / 4; i += Tile::kLanes * Tile::kTeams) to[i] = from[i];
}

template <class Tile>
__global__ void __launch_bounds__(Tile::kLanes* Tile::kTeams)
    csr_spmm_kernel(index_t batch, CsrView weight, const float* __restrict__ panels, BiasActivation epilogue,
                    float* __restrict__ y) {
  const int first_row = (int(blockIdx.x) * Tile::kTeams + int(threadIdx.y)) * Tile::kRows;
  const float* panel = panels + blockIdx.y * weight.columns * Tile::kPanel;
  typename Tile::Strip sums[Tile::kRows];
  RowCursor rows[Tile::kRows];
#pragma unroll
  for (int r = 0; r < Tile::kRows; ++r) {
    if (first_row + r < weight.rows) {
      rows[r] = {weight.row_offsets[first_row + r], weight.row_offsets[first_row + r + 1]};
    }
  }
  if constexpr (kDepth<Tile> == 0) {
    const DenseSlab slab{panel, 0, int(weight.columns)};
    for (int r = 0; r < Tile::kRows; ++r) {
      multiply_row<1, Tile::kPanel, true>(weight.column_indices, weight.values, slab, rows[r], sums[r]);
    }
  } else {
    __shared__ float4 shared[kDepth<Tile> * Tile::kPanel / 4];
    float* memory = reinterpret_cast<float*>(shared);
    for (int k = 0; k < weight.columns; k += kDepth<Tile>) {
      const int depth = weight.columns - k < kDepth<Tile> ? int(weight.columns) - k : kDepth<Tile>;
      load_slab<Tile>(panel, k, depth, memory);
      __syncthreads();
      const DenseSlab slab{memory + threadIdx.x * Tile::kWidth, k, k + depth};
#pragma unroll
      for (int r = 0; r < Tile::kRows; ++r) {
        multiply_row<32, Tile::kPanel, false>(weight.column_indices, weight.values, slab, rows[r], sums[r]);
      }
      __syncthreads();
    }
  }
  store_sums(panel_store<Tile>(batch, weight.rows, first_row), epilogue, sums, y);
}

// Rows that one team gathers one after the other: a block of one CPU thread needs more work than one row.
template <class Team>
constexpr int kGatherRows = Team::kLanes == 1 ? 32 : 1;

// sums[s] = x at offsets[s] times one row of W, complete in every lane of the team.
template <int kSamples>
__device__ inline void gather_row(WarpTeam, const CsrView& weight, index_t row, const float* __restrict__ x,
                                  const index_t (&offsets)[kSamples], float (&sums)[kSamples]) {
  simt::unrolled<kSamples>([&](auto s) { sums[s] = 0.0f; });
  const int end = weight.row_offsets[row + 1];
  for (int i = weight.row_offsets[row] + int(threadIdx.x); i < end; i += WarpTeam::kLanes) {
    const float value = weight.values[i];
    const float* from = x + weight.column_indices[i];
    simt::unrolled<kSamples>([&](auto s) { sums[s] += value * from[offsets[s]]; });
  }
  simt::unrolled<kSamples>([&](auto s) {
    for (int distance = 16; distance > 0; distance /= 2) sums[s] += __shfl_xor_sync(~0u, sums[s], distance);
  });
}

// The same by one thread.
template <class Team, int kSamples>
inline void gather_row(Team, const CsrView& weight, index_t row, const float* x, const index_t (&offsets)[kSamples],
                       float (&sums)[kSamples]) {
  const int begin = weight.row_offsets[row], count = weight.row_offsets[row + 1] - begin;
  for (int s = 0; s < kSamples; ++s) {
    sums[s] = simt::sparse_dot(weight.values + begin, weight.column_indices + begin, count, x + offsets[s]);
  }
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
    gather_row(Team(), weight, row, x, offsets, sums);
    const float bias = epilogue.bias == nullptr ? 0.0f : epilogue.bias[row];
    simt::unrolled<kSamples>([&](auto s) {
      if (first + s >= batch || threadIdx.x != 0) return;
      y[(first + s) * weight.rows + row] = apply_activation(epilogue.activation, sums[s] + bias, epilogue.slope);
    });
  }
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

void require_computable(index_t batch, const CsrView& weight) {
  require(batch > 0 && weight.rows > 0 && weight.columns > 0, "csr_spmm: batch ", batch, ", weight ", weight.rows,
          " x ", weight.columns, "; all must be at least 1");
}

}  // namespace

index_t csr_spmm_workspace(index_t batch, const CsrView& weight, SparseTeam team) {
  return batch <= largest_gather(team) ? 0 : panel_shape(batch, weight.columns, team).elements();
}

void csr_spmm(index_t batch, const CsrView& weight, const float* x, const BiasActivation& epilogue, float* y,
              Workspace workspace, cudaStream_t stream, SparseTeam team) {
  require_computable(batch, weight);
  const index_t wanted = csr_spmm_workspace(batch, weight, team);
  if (wanted == 0 || workspace.floats < wanted) {
    return with_team(team,
                     [&](auto chosen) { launch_gather<decltype(chosen)>(batch, weight, x, epilogue, y, stream); });
  }
  make_panels(panel_shape(batch, weight.columns, team), x, workspace.data, team, stream);
  csr_spmm_of_panels(batch, weight, workspace.data, epilogue, y, stream, team);
}

void csr_spmm_of_panels(index_t batch, const CsrView& weight, const float* x_panels, const BiasActivation& epilogue,
                        float* y, cudaStream_t stream, SparseTeam team) {
  require_computable(batch, weight);
  const PanelShape shape = panel_shape(batch, weight.columns, team);
  require(shape.features * shape.width <= INT32_MAX, "csr_spmm: ", weight.columns, " columns overflow 32-bit offsets");
  with_team(team, [&](auto chosen) {
    with_panel_tile<decltype(chosen)>(shape, [&](auto tile) {
      using Tile = decltype(tile);
      simt::launch(csr_spmm_kernel<Tile>, panel_grid<Tile>(weight.rows, Tile::kRows, shape, stream), batch, weight,
                   x_panels, epilogue, y);
    });
  });
}

}  // namespace espalier::kernels
