#include "kernels/sparse/csr_slab_spmm.h"

#include "kernels/activation_math.h"
#include "kernels/grid.h"
#include "kernels/require.h"
#include "kernels/simt/async_copy.h"
#include "kernels/simt/unrolled.h"

namespace espalier::kernels {
namespace {

constexpr int kSamples = 64;                             // of a tile: a ring row of 256 bytes
constexpr int kLanesOfRow = 8, kHalf = 4 * kLanesOfRow;  // a lane has four samples of each half of a tile
constexpr int kRingRows = SlabCsrView::kSlabs * SlabCsrView::kPitch;
constexpr int kQuads = SlabCsrView::kQuads, kQuad = SlabCsrView::kQuad, kSteps = SlabCsrView::kSteps;
constexpr int kMaxThreads = 32 * SlabCsrView::kMaxWarps;
static_assert(kRingRows == 256 && kSamples * sizeof(float) == 256, "a byte at the second place is a row's address");
static_assert(kLanesOfRow * kQuad == 32 && kSteps == 4, "a lane loads four values and four ring rows of its row");

// The nonzeros of one row that a lane multiplies next.
struct Nonzeros {
  float4 values;
  unsigned ring_rows;
};

// The weight as one lane reads it: `at` counts rows of groups. Their sizes come from registers: constants nvcc would
// make anew for every address, 8 of the main loop's 210 instructions.
struct Stream {
  const float* values;
  const std::uint32_t* ring_rows;
  unsigned value_bytes, ring_row_bytes;

  __device__ explicit Stream(const SlabCsrView& weight)
      : values(weight.values),
        ring_rows(weight.ring_rows),
        value_bytes(blockDim.z * unsigned(kSteps * sizeof(float))),
        ring_row_bytes(blockDim.z * unsigned(sizeof(std::uint32_t))) {}
  __device__ Nonzeros load(unsigned at) const {
    const auto address = [&](const void* base, unsigned bytes) {
      return static_cast<const char*>(base) + std::uint64_t(at) * bytes;
    };
    return {*reinterpret_cast<const float4*>(address(values, value_bytes)),
            *reinterpret_cast<const std::uint32_t*>(address(ring_rows, ring_row_bytes))};
  }
};

// Brings a block's columns of the panel into the ring, slab by slab. Sixteen lanes copy a column; each knows where one
// of those stands that its half of the warp will copy, and hands it on by a shuffle. Which, it reads a slab ahead.
class SlabFeed {
  static constexpr int kLanesOfColumn = kSamples / 4;
  static_assert(SlabCsrView::kSlab <= 2 * SlabCsrView::kMinWarps * kLanesOfColumn, "a lane knows one column of a slab");

 public:
  __device__ explicit SlabFeed(const SlabCsrView& weight)
      : count_(__shfl_sync(~0u, weight.column_counts[blockIdx.x], 0)) {  // by a shuffle: so that nvcc knows it the same
    read_columns(weight, 0);
  }
  __device__ int slabs() const { return ceil_div(count_, SlabCsrView::kSlab); }

  // Starts to copy a slab, if there is one. The next comes after it.
  __device__ void start(const SlabCsrView& weight, const float* panels, int slab, float* ring) {
    const int left = count_ - slab * SlabCsrView::kSlab, step = 2 * int(blockDim.y);
    const int columns = left < SlabCsrView::kSlab ? left : SlabCsrView::kSlab;
    const float* panel = panels + index_t(blockIdx.y) * weight.columns * kSamples + threadIdx.x % kLanesOfColumn * 4;
    float* to = ring + slab % SlabCsrView::kSlabs * SlabCsrView::kPitch * kSamples + threadIdx.x % kLanesOfColumn * 4;
#pragma unroll 1
    for (int i = 0, column = first_column(); i * step < columns; ++i, column += step) {
      const unsigned from = __shfl_sync(~0u, listed_, i, kLanesOfColumn);
      if (column < columns) simt::async_copy<16>(to + column * kSamples, panel + index_t(from) * kSamples);
    }
    read_columns(weight, slab + 1);
  }

 private:
  // Of a slab, that this half of the warp copies.
  __device__ static int first_column() { return 2 * int(threadIdx.y) + int(threadIdx.x) / kLanesOfColumn; }
  __device__ void read_columns(const SlabCsrView& weight, int slab) {
    const int mine = first_column() + 2 * int(blockDim.y) * (int(threadIdx.x) % kLanesOfColumn);
    const int at = slab * SlabCsrView::kSlab + mine;
    const std::uint16_t* columns = weight.block_columns + blockIdx.x * weight.columns;
    listed_ = mine < SlabCsrView::kSlab && at < count_ ? columns[at] : 0u;
  }

  int count_;
  unsigned listed_ = 0;
};

// The last ring row of each slab: what padding multiplies by zero must not be infinite.
__device__ inline void clear_zero_rows(float* ring) {
  for (int i = 32 * int(threadIdx.y) + int(threadIdx.x); i < SlabCsrView::kSlabs * kSamples;
       i += 32 * int(blockDim.y)) {
    ring[(i / kSamples * SlabCsrView::kPitch + SlabCsrView::kZeros) * kSamples + i % kSamples] = 0.0f;
  }
}

// sums += a group's nonzeros times their runs of samples. `lane_bytes`: where this lane's samples lie in a ring row.
__device__ inline void multiply_group(const char* ring, unsigned lane_bytes, const Nonzeros& row, float (&sums)[8]) {
  const float values[kSteps] = {row.values.x, row.values.y, row.values.z, row.values.w};
  simt::unrolled<kSteps>([&](auto step) {
    const unsigned at = __byte_perm(row.ring_rows, lane_bytes, 0x7604u | unsigned(step) << 4);  // row * 256 + lane
    const float4 low = *reinterpret_cast<const float4*>(ring + at);
    const float4 high = *reinterpret_cast<const float4*>(ring + at + kHalf * sizeof(float));
    const float value = values[step];
    sums[0] += value * low.x, sums[1] += value * low.y, sums[2] += value * low.z, sums[3] += value * low.w;
    sums[4] += value * high.x, sums[5] += value * high.y, sums[6] += value * high.z, sums[7] += value * high.w;
  });
}

// All quads' groups of the current slab; `counts` has them in 8 bits each. A quad's next group is loaded as soon as its
// registers are free: the other quads' multiply-adds cover the way from L2.
__device__ inline void multiply_slab(const Stream& weight, unsigned counts, const char* ring, unsigned lane_bytes,
                                     unsigned (&next)[kQuads], Nonzeros (&nonzeros)[kQuads], float (&sums)[kQuads][8]) {
  int rounds[kQuads], most = 0;
  simt::unrolled<kQuads>([&](auto q) {
    rounds[q] = __shfl_sync(~0u, int(counts >> 8 * q & 0xFF), 0);  // the same in all lanes: so that nvcc knows it
    most = max(most, rounds[q]);
  });
  for (int round = 0; round < most; ++round) {
    simt::unrolled<kQuads>([&](auto q) {
      if (round >= rounds[q]) return;
      multiply_group(ring, lane_bytes, nonzeros[q], sums[q]);
      nonzeros[q] = weight.load(next[q] += kQuad);
    });
  }
}

// Half a tile's sums by way of shared memory, where a row's parts lie side by side, so that lanes write neighbouring
// rows of y.
__device__ inline void store_half(int half, index_t batch, const SlabCsrView& weight, const BiasActivation& epilogue,
                                  const float (&sums)[kQuads][8], float* staged, float* y) {
  const int places = int(weight.block_places()), pitch = places + 1, lane = int(threadIdx.x);
  const index_t first_row = weight.first_rows[blockIdx.x], rows = weight.first_rows[blockIdx.x + 1] - first_row;
  const index_t first_sample = index_t(blockIdx.y) * kSamples + half * kHalf;
  const index_t first_place = index_t(blockIdx.x) * places + threadIdx.y * SlabCsrView::kWarpRows;
  __syncthreads();  // nobody reads any more what was there
  simt::unrolled<kQuads>([&](auto q) {
    const int part = weight.part_of[first_place + q * kQuad + lane / kLanesOfRow];
    if (part == SlabCsrView::kNone) return;
    float* to = staged + lane % kLanesOfRow * 4 * pitch + part;
    simt::unrolled<4>([&](auto j) { to[j * pitch] = half == 0 ? sums[q][j] : sums[q][4 + j]; });
  });
  __syncthreads();
  for (int sample = int(threadIdx.y); sample < kHalf && first_sample + sample < batch; sample += int(blockDim.y)) {
    float* to = y + (first_sample + sample) * weight.rows + first_row;
    for (int row = lane; row < rows; row += 32) {
      const std::uint32_t parts = weight.parts[first_row + row];
      const float* from = staged + sample * pitch + (parts & 0xFFFF);
      float sum = epilogue.bias == nullptr ? 0.0f : epilogue.bias[first_row + row];
      for (int part = int(parts >> 16); part > 0; --part) sum += *from++;
      to[row] = apply_activation(epilogue.activation, sum, epilogue.slope);
    }
  }
}

__global__ void __launch_bounds__(kMaxThreads)
    csr_slab_spmm_kernel(index_t batch, SlabCsrView weight, const float* __restrict__ panels, BiasActivation epilogue,
                         float* __restrict__ y) {
  float* ring = simt::dynamic_shared<float>();
  SlabFeed feed(weight);
  const int slabs = feed.slabs();
  const index_t warp = index_t(blockIdx.x) * blockDim.y + threadIdx.y;
  // By a shuffle with itself, so that nvcc keeps it instead of making it anew for each group.
  const unsigned lane_bytes = __shfl_sync(~0u, threadIdx.x % kLanesOfRow * 16, int(threadIdx.x));
  unsigned next[kQuads];
  Nonzeros nonzeros[kQuads];
  float sums[kQuads][8] = {};
#pragma unroll 1
  for (int slab = 0; slab < SlabCsrView::kResident; ++slab) feed.start(weight, panels, slab, ring);
  simt::async_commit();
  clear_zero_rows(ring);
  const Stream stream(weight);
  simt::unrolled<kQuads>([&](auto q) {
    next[q] = unsigned(weight.group_offsets[warp * kQuads + q]) * kQuad + threadIdx.x / kLanesOfRow;
    nonzeros[q] = stream.load(next[q]);
  });
  const std::uint32_t* counts = weight.counts + warp * weight.slabs();
  unsigned due = counts[0];
  for (int slab = 0; slab < slabs; ++slab) {
    simt::async_wait<0>();
    __syncthreads();  // the resident slabs have landed, and the one before the current is no longer read
    feed.start(weight, panels, slab + SlabCsrView::kResident, ring);
    simt::async_commit();
    const unsigned following = counts[slab + 1];
    multiply_slab(stream, due, reinterpret_cast<const char*>(ring), lane_bytes, next, nonzeros, sums);
    due = following;
  }
  store_half(0, batch, weight, epilogue, sums, ring, y);
  store_half(1, batch, weight, epilogue, sums, ring, y);
}

}  // namespace

PanelShape csr_slab_panels(index_t batch, index_t columns) { return {batch, columns, kSamples}; }

void csr_slab_spmm(index_t batch, const SlabCsrView& weight, const float* x, const BiasActivation& epilogue, float* y,
                   float* panels, cudaStream_t stream) {
  require(batch > 0 && weight.rows > 0 && weight.columns > 0, "csr_slab_spmm: batch ", batch, ", weight ", weight.rows,
          " x ", weight.columns, "; all must be at least 1");
  const PanelShape shape = csr_slab_panels(batch, weight.columns);
  require(shape.panels() <= kMaxGridYZ, "csr_slab_spmm: a batch of ", batch, " is too large for one product; split it");
  make_panels(shape, x, panels, SparseTeam::automatic, stream);
  simt::launch(csr_slab_spmm_kernel,
               {dim3(unsigned(weight.blocks), unsigned(shape.panels())), dim3(32, unsigned(weight.warps)),
                std::size_t(kRingRows) * kSamples * sizeof(float), stream},
               batch, weight, panels, epilogue, y);
}

}  // namespace espalier::kernels
