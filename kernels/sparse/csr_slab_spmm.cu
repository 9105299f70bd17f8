#include "kernels/sparse/csr_slab_spmm.h"

#include "kernels/activation_math.h"
#include "kernels/grid.h"
#include "kernels/require.h"
#include "kernels/simt/async_copy.h"
#include "kernels/simt/unrolled.h"
#include "kernels/sparse/narrow_operand.h"

namespace espalier::kernels {
namespace {

constexpr int kRowBytes = kSlabRowBytes, kChunkBytes = 16;
constexpr int kLanesOfRow = 8, kHalf = kLanesOfRow * kChunkBytes;  // a lane has a chunk of each half of a ring row
constexpr int kRingRows = SlabCsrView::kSlabs * SlabCsrView::kPitch;
constexpr int kQuads = SlabCsrView::kQuads, kQuad = SlabCsrView::kQuad, kSteps = SlabCsrView::kSteps;
static_assert(kRingRows == 256 && kRowBytes == 256, "a byte at the second place is a row's address");
static_assert(kLanesOfRow * kQuad == 32 && kSteps == 4, "a lane loads four values and four ring rows of its row");

// What a ring row holds where samples are T.
template <class T>
struct Tile {
  static constexpr int kSamples = slab_csr_samples<T>(), kChunk = kChunkBytes / int(sizeof(T));
  static constexpr int kLaneSamples = 2 * kChunk;  // sums of a row that a lane has
  static constexpr int kMaxThreads = 32 * slab_csr_warps<T>();
};

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
template <class T>
class SlabFeed {
  static constexpr int kSamples = Tile<T>::kSamples, kChunk = Tile<T>::kChunk;
  static constexpr int kLanesOfColumn = kRowBytes / kChunkBytes;
  static_assert(SlabCsrView::kSlab <= 2 * SlabCsrView::kMinWarps * kLanesOfColumn, "a lane knows one column of a slab");

 public:
  __device__ explicit SlabFeed(const SlabCsrView& weight)
      : count_(__shfl_sync(~0u, weight.column_counts[blockIdx.x], 0)) {  // by a shuffle: so that nvcc knows it the same
    read_columns(weight, 0);
  }
  __device__ int slabs() const { return ceil_div(count_, SlabCsrView::kSlab); }

  // Starts to copy a slab, if there is one. The next comes after it.
  __device__ void start(const SlabCsrView& weight, const T* panels, int slab, T* ring) {
    const int left = count_ - slab * SlabCsrView::kSlab, step = 2 * int(blockDim.y);
    const int columns = left < SlabCsrView::kSlab ? left : SlabCsrView::kSlab;
    const int chunk = int(threadIdx.x) % kLanesOfColumn * kChunk;
    const T* panel = panels + index_t(blockIdx.y) * weight.columns * kSamples + chunk;
    T* to = ring + slab % SlabCsrView::kSlabs * SlabCsrView::kPitch * kSamples + chunk;
#pragma unroll 1
    for (int i = 0, column = first_column(); i * step < columns; ++i, column += step) {
      const unsigned from = __shfl_sync(~0u, listed_, i, kLanesOfColumn);
      if (column < columns) simt::async_copy<kChunkBytes>(to + column * kSamples, panel + index_t(from) * kSamples);
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
  constexpr int kWords = kRowBytes / int(sizeof(float));
  for (int i = 32 * int(threadIdx.y) + int(threadIdx.x); i < SlabCsrView::kSlabs * kWords; i += 32 * int(blockDim.y)) {
    ring[(i / kWords * SlabCsrView::kPitch + SlabCsrView::kZeros) * kWords + i % kWords] = 0.0f;
  }
}

// sums[i] += value * the i-th sample of a chunk.
template <int kFirst, int kSums>
__device__ inline void multiply_chunk(float value, const float* chunk, float (&sums)[kSums]) {
  const float4 samples = *reinterpret_cast<const float4*>(chunk);
  sums[kFirst] += value * samples.x, sums[kFirst + 1] += value * samples.y;
  sums[kFirst + 2] += value * samples.z, sums[kFirst + 3] += value * samples.w;
}
template <int kFirst, class T, int kSums>
__device__ inline void multiply_chunk(float value, const T* chunk, float (&sums)[kSums]) {
  const uint4 words = *reinterpret_cast<const uint4*>(chunk);
  const unsigned pairs[] = {words.x, words.y, words.z, words.w};
  simt::unrolled<4>([&](auto i) {
    sums[kFirst + 2 * i] += value * low_half<T>(pairs[i]);
    sums[kFirst + 2 * i + 1] += value * high_half<T>(pairs[i]);
  });
}

// sums += a group's nonzeros times their runs of samples. `lane_bytes`: where this lane's samples lie in a ring row.
template <class T>
__device__ inline void multiply_group(const char* ring, unsigned lane_bytes, const Nonzeros& row,
                                      float (&sums)[Tile<T>::kLaneSamples]) {
  const float values[kSteps] = {row.values.x, row.values.y, row.values.z, row.values.w};
  simt::unrolled<kSteps>([&](auto step) {
    const unsigned at = __byte_perm(row.ring_rows, lane_bytes, 0x7604u | unsigned(step) << 4);  // row * 256 + lane
    multiply_chunk<0>(values[step], reinterpret_cast<const T*>(ring + at), sums);
    multiply_chunk<Tile<T>::kChunk>(values[step], reinterpret_cast<const T*>(ring + at + kHalf), sums);
  });
}

// All quads' groups of the current slab; `counts` has them in 8 bits each. A quad's next group is loaded as soon as its
// registers are free: the other quads' multiply-adds cover the way from L2.
template <class T>
__device__ inline void multiply_slab(const Stream& weight, unsigned counts, const char* ring, unsigned lane_bytes,
                                     unsigned (&next)[kQuads], Nonzeros (&nonzeros)[kQuads],
                                     float (&sums)[kQuads][Tile<T>::kLaneSamples]) {
  int rounds[kQuads], most = 0;
  simt::unrolled<kQuads>([&](auto q) {
    rounds[q] = __shfl_sync(~0u, int(counts >> 8 * q & 0xFF), 0);  // the same in all lanes: so that nvcc knows it
    most = max(most, rounds[q]);
  });
  for (int round = 0; round < most; ++round) {
    simt::unrolled<kQuads>([&](auto q) {
      if (round >= rounds[q]) return;
      multiply_group<T>(ring, lane_bytes, nonzeros[q], sums[q]);
      nonzeros[q] = weight.load(next[q] += kQuad);
    });
  }
}

// Sums of a tile by way of shared memory, where a row's parts lie side by side, so that lanes write neighbouring rows
// of y: four of each lane, kFour those from its 4 * kFour-th on.
constexpr int kStagedSamples = 4 * kLanesOfRow;
template <class T, int kFour>
__device__ inline void store_four(index_t batch, const SlabCsrView& weight, const BiasActivation& epilogue,
                                  const float (&sums)[kQuads][Tile<T>::kLaneSamples], float* staged, float* y) {
  constexpr int kChunk = Tile<T>::kChunk, kInChunk = 4 * kFour % kChunk;
  const int places = int(weight.block_places()), pitch = places + 1, lane = int(threadIdx.x);
  const index_t first_row = weight.first_rows[blockIdx.x], rows = weight.first_rows[blockIdx.x + 1] - first_row;
  const index_t first_sample = index_t(blockIdx.y) * Tile<T>::kSamples + 4 * kFour / kChunk * kLanesOfRow * kChunk;
  const index_t first_place = index_t(blockIdx.x) * places + threadIdx.y * SlabCsrView::kWarpRows;
  __syncthreads();  // nobody reads any more what was there
  simt::unrolled<kQuads>([&](auto q) {
    const int part = weight.part_of[first_place + q * kQuad + lane / kLanesOfRow];
    if (part == SlabCsrView::kNone) return;
    float* to = staged + lane % kLanesOfRow * 4 * pitch + part;
    simt::unrolled<4>([&](auto j) { to[j * pitch] = sums[q][4 * kFour + j]; });
  });
  __syncthreads();
  for (int i = int(threadIdx.y); i < kStagedSamples; i += int(blockDim.y)) {
    const index_t sample = first_sample + i / 4 * kChunk + kInChunk + i % 4;
    if (sample >= batch) break;
    float* to = y + sample * weight.rows + first_row;
    for (int row = lane; row < rows; row += 32) {
      const std::uint32_t parts = weight.parts[first_row + row];
      const float* from = staged + i * pitch + (parts & 0xFFFF);
      float sum = epilogue.bias == nullptr ? 0.0f : epilogue.bias[first_row + row];
      for (int part = int(parts >> 16); part > 0; --part) sum += *from++;
      to[row] = apply_activation(epilogue.activation, sum, epilogue.slope);
    }
  }
}

template <class T>
__global__ void __launch_bounds__(Tile<T>::kMaxThreads)
    csr_slab_spmm_kernel(index_t batch, SlabCsrView weight, const T* __restrict__ panels, BiasActivation epilogue,
                         float* __restrict__ y) {
  char* const shared = simt::dynamic_shared<char>();
  T* const ring = reinterpret_cast<T*>(shared);
  SlabFeed<T> feed(weight);
  const int slabs = feed.slabs();
  const index_t warp = index_t(blockIdx.x) * blockDim.y + threadIdx.y;
  // By a shuffle with itself, so that nvcc keeps it instead of making it anew for each group.
  const unsigned lane_bytes = __shfl_sync(~0u, threadIdx.x % kLanesOfRow * kChunkBytes, int(threadIdx.x));
  unsigned next[kQuads];
  Nonzeros nonzeros[kQuads];
  float sums[kQuads][Tile<T>::kLaneSamples] = {};
#pragma unroll 1
  for (int slab = 0; slab < SlabCsrView::kResident; ++slab) feed.start(weight, panels, slab, ring);
  simt::async_commit();
  clear_zero_rows(reinterpret_cast<float*>(shared));
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
    multiply_slab<T>(stream, due, shared, lane_bytes, next, nonzeros, sums);
    due = following;
  }
  simt::unrolled<Tile<T>::kLaneSamples / 4>([&](auto four) {
    store_four<T, four>(batch, weight, epilogue, sums, reinterpret_cast<float*>(shared), y);
  });
}

void bring_panels(const PanelShape& shape, const float* x, float* panels, cudaStream_t stream) {
  make_panels(shape, x, panels, SparseTeam::automatic, stream);
}
template <class T>
void bring_panels(const PanelShape& shape, const float* x, T* panels, cudaStream_t stream) {
  narrow_columns(shape, x, panels, stream);
}

}  // namespace

template <class T>
void csr_slab_spmm(index_t batch, const SlabCsrView& weight, const float* x, const BiasActivation& epilogue, float* y,
                   T* panels, cudaStream_t stream) {
  require(batch > 0 && weight.rows > 0 && weight.columns > 0, "csr_slab_spmm: batch ", batch, ", weight ", weight.rows,
          " x ", weight.columns, "; all must be at least 1");
  require(weight.warps <= slab_csr_warps<T>(), "csr_slab_spmm: blocks of ", weight.warps,
          " warps, but of x in ", int(sizeof(T)), " bytes have at most ", slab_csr_warps<T>(),
          "; make the layout for it");
  const PanelShape shape = csr_slab_panels<T>(batch, weight.columns);
  require(shape.panels() <= kMaxGridYZ, "csr_slab_spmm: a batch of ", batch, " is too large for one product; split it");
  bring_panels(shape, x, panels, stream);
  simt::launch(csr_slab_spmm_kernel<T>,
               {dim3(unsigned(weight.blocks), unsigned(shape.panels())), dim3(32, unsigned(weight.warps)),
                std::size_t(kRingRows) * kRowBytes, stream},
               batch, weight, panels, epilogue, y);
}

template void csr_slab_spmm(index_t, const SlabCsrView&, const float*, const BiasActivation&, float*, float*,
                            cudaStream_t);
template void csr_slab_spmm(index_t, const SlabCsrView&, const float*, const BiasActivation&, float*, half*,
                            cudaStream_t);
template void csr_slab_spmm(index_t, const SlabCsrView&, const float*, const BiasActivation&, float*, bfloat16*,
                            cudaStream_t);

}  // namespace espalier::kernels
