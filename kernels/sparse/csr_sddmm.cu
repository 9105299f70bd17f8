// A warp holds its part of a row of dy in registers, meets the row's kept columns in a slab of x, and adds the lanes'
// sums of kSumGroup kept weights together: 9 shuffles for 8 instead of 40. A CPU thread takes as many kept weights as a
// vector has lanes, sums each along the samples, and adds up all their lanes in one transposing tree.
#include "kernels/sparse/csr_sddmm.h"

#include "kernels/simt/gathered_dots.h"
#include "kernels/sparse/grouped_sums.h"
#include "kernels/sparse/panel_tile.h"

namespace espalier::kernels {
namespace {

template <class Tile>
constexpr int kSlabColumns = 256 / Tile::kWidth;  // 32 KiB of x: two blocks and more fit on every architecture

template <int kWidth>
__device__ inline float dot(const simt::Strip<kWidth>& a, const simt::Strip<kWidth>& b) {
  float sum = 0.0f;
#pragma unroll
  for (int j = 0; j < kWidth; ++j) sum += a.lane[j] * b.lane[j];
  return sum;
}

// The kept weights of one row that a slab holds.
struct KeptRun {
  int begin, end, first_column;
};

// dw (+)= one panel's part of their gradients. Every weight is always summed by the same lane.
template <class Tile>
__device__ inline void multiply_run(const KeptView& weight, const KeptRun& run, const typename Tile::Strip& dy,
                                    const float* slab, bool fresh, float* __restrict__ dw) {
  for (int i = run.begin; i < run.end; i += kSumGroup) {
    float sums[kSumGroup];
#pragma unroll
    for (int n = 0; n < kSumGroup; ++n) {
      const int at = i + n < run.end ? i + n : run.end - 1;
      const int offset = (weight.column_indices[at] - run.first_column) * Tile::kPanel;
      sums[n] = dot(dy, Tile::Strip::load(slab + offset));
    }
    const float sum = sum_group_over_warp(sums);
    const int mine = i + int(threadIdx.x) / 4;
    if (threadIdx.x % 4 == 0 && mine < run.end) dw[mine] = fresh ? sum : dw[mine] + sum;
  }
}

// One slab of columns, blockIdx.y, for the rows of a block; panels one after the other.
template <class Tile>
__global__ void __launch_bounds__(Tile::kLanes* Tile::kTeams)
    csr_sddmm_kernel(KeptView weight, index_t panels, const float* __restrict__ dy_panels,
                     const float* __restrict__ x_panels, float* __restrict__ dw, float* __restrict__ row_sums) {
  __shared__ float4 shared[kSlabColumns<Tile> * Tile::kPanel / 4];
  const int lane = int(threadIdx.x), first_row = (int(blockIdx.x) * Tile::kTeams + int(threadIdx.y)) * Tile::kRows;
  const int rows = int(weight.rows) - first_row < Tile::kRows ? int(weight.rows) - first_row : Tile::kRows;
  const int first = int(blockIdx.y) * kSlabColumns<Tile>;
  const int depth = weight.columns - first < kSlabColumns<Tile> ? int(weight.columns) - first : kSlabColumns<Tile>;
  int bound = 0;  // lanes 0 ... kRows - 1 find where the rows begin in the slab, the next kRows where they end
  if (lane % Tile::kRows < rows && lane < 2 * Tile::kRows) {
    const std::int32_t* offsets = weight.row_offsets + first_row + lane % Tile::kRows;
    bound = lower_bound(weight.column_indices, offsets[0], offsets[1], lane < Tile::kRows ? first : first + depth);
  }
  for (index_t panel = 0; panel < panels; ++panel) {
    const float4* from = reinterpret_cast<const float4*>(x_panels + (panel * weight.columns + first) * Tile::kPanel);
    for (int i = int(threadIdx.y) * Tile::kLanes + lane; i < depth * Tile::kPanel / 4; i += Tile::kLanes * Tile::kTeams)
      shared[i] = from[i];
    __syncthreads();
    for (int r = 0; r < rows; ++r) {
      const KeptRun run{__shfl_sync(~0u, bound, r), __shfl_sync(~0u, bound, Tile::kRows + r), first};
      const index_t row = first_row + r;
      const auto dy = Tile::Strip::load(dy_panels + (panel * weight.rows + row) * Tile::kPanel + lane * Tile::kWidth);
      multiply_run<Tile>(weight, run, dy, reinterpret_cast<const float*>(shared) + lane * Tile::kWidth, panel == 0, dw);
      if (row_sums == nullptr || blockIdx.y != 0) continue;
      float sum = 0.0f;
#pragma unroll
      for (int j = 0; j < Tile::kWidth; ++j) sum += dy.lane[j];
      sum = sum_over_warp(sum);
      if (lane == 0) row_sums[row] = panel == 0 ? sum : row_sums[row] + sum;
    }
    __syncthreads();
  }
}

template <class Tile>
__global__ void csr_sddmm_by_threads_kernel(KeptView weight, index_t panels, const float* __restrict__ dy_panels,
                                            const float* __restrict__ x_panels, float* __restrict__ dw,
                                            float* __restrict__ row_sums) {
  const index_t first_row = index_t(blockIdx.x) * Tile::kRows;
  for (index_t row = first_row; row < first_row + Tile::kRows && row < weight.rows; ++row) {
    const float* dy = dy_panels + row * Tile::kWidth;
    for (int i = weight.row_offsets[row]; i < weight.row_offsets[row + 1]; i += simt::kLanes) {
      const int left = weight.row_offsets[row + 1] - i;
      simt::gathered_dots<Tile::kWidth>({dy, weight.rows * Tile::kWidth}, {x_panels, weight.columns * Tile::kWidth},
                                        int(panels), weight.column_indices + i,
                                        left < simt::kLanes ? left : simt::kLanes, dw + i);
    }
    if (row_sums == nullptr) continue;
    float sum = 0.0f;
    for (index_t panel = 0; panel < panels; ++panel) {
      for (int j = 0; j < Tile::kWidth; ++j) sum += dy[panel * weight.rows * Tile::kWidth + j];
    }
    row_sums[row] = sum;
  }
}

}  // namespace

void csr_sddmm(index_t batch, const KeptView& weight, const float* dy_panels, const float* x_panels, float* dw,
               float* row_sums, cudaStream_t stream, SparseTeam team) {
  require(batch > 0 && weight.rows > 0 && weight.columns > 0, "csr_sddmm: batch ", batch, ", weight ", weight.rows,
          " x ", weight.columns, "; all must be at least 1");
  const PanelShape shape = panel_shape(batch, weight.columns, team);
  with_team(team, [&](auto chosen) {
    using Team = decltype(chosen);
    with_panel_tile<Team>(shape, [&](auto tile) {
      using Tile = decltype(tile);
      simt::Launch launch{dim3(unsigned(ceil_div<index_t>(weight.rows, Tile::kRows * Tile::kTeams))),
                          dim3(Tile::kLanes, Tile::kTeams), 0, stream};
      if constexpr (Tile::kLanes == 1) {
        simt::launch(csr_sddmm_by_threads_kernel<Tile>, launch, weight, shape.panels(), dy_panels, x_panels, dw,
                     row_sums);
      } else {
        launch.grid.y = unsigned(ceil_div<index_t>(weight.columns, kSlabColumns<Tile>));
        require(launch.grid.y <= kMaxGridYZ, "csr_sddmm: ", weight.columns, " columns are too many; split the layer");
        simt::launch(csr_sddmm_kernel<Tile>, launch, weight, shape.panels(), dy_panels, x_panels, dw, row_sums);
      }
    });
  });
}

}  // namespace espalier::kernels
