#include "kernels/sparse/csr_spmv.h"

#include "kernels/activation_math.h"
#include "kernels/grid.h"
#include "kernels/require.h"
#include "kernels/simt/unrolled.h"

namespace espalier::kernels {
namespace {

constexpr int kLanesOfRow = PieceCsrView<float>::kBlock;  // of 4096 columns at 90 % zeros each has six or seven pieces
constexpr int kThreads = 256, kRowsOfBlock = kThreads / kLanesOfRow;
constexpr int kPiece = PieceCsrView<float>::kPiece;
// A block loads all of x; beyond that much of it loads would outweigh those of W, and x comes through the L1 cache.
constexpr index_t kMaxSharedColumns = 12 * 1024 - 1;

// 16 bytes of T.
template <class T>
struct alignas(16) Quarter {
  T value[16 / sizeof(T)];
};

// What one lane loads at once: its piece of the `pieces` of a block, at most one for each lane of the row.
template <class T>
struct Piece {
  static constexpr int kParts = PieceCsrView<T>::kParts;
  Quarter<std::uint16_t> columns;
  Quarter<T> values[kParts];

  __device__ static Piece load(const PieceCsrView<T>& weight, index_t block, index_t pieces, int lane) {
    Piece loaded;
    loaded.columns = reinterpret_cast<const Quarter<std::uint16_t>*>(weight.column_indices)[block + lane];
    const auto* values = reinterpret_cast<const Quarter<T>*>(weight.values) + block * kParts + lane;
    simt::unrolled<kParts>([&](auto part) { loaded.values[part] = values[part * pieces]; });
    return loaded;
  }
  // Calls x_at(column) for each nonzero.
  template <class Get>
  __device__ float times(Get x_at) const {
    constexpr int kPerPart = 16 / sizeof(T);
    float even = 0.0f, odd = 0.0f;
    simt::unrolled<kPiece / 2>([&](auto pair) {
      constexpr int i = 2 * pair;
      even += to_float(values[i / kPerPart].value[i % kPerPart]) * x_at(columns.value[i]);
      odd += to_float(values[(i + 1) / kPerPart].value[(i + 1) % kPerPart]) * x_at(columns.value[i + 1]);
    });
    return even + odd;
  }
};

__device__ inline void load_x(const float* __restrict__ x, int columns, float* shared) {
  if (reinterpret_cast<std::uintptr_t>(x) % 16 == 0) {
    const int fours = columns / 4;
    for (int i = int(threadIdx.x); i < fours; i += kThreads) {
      reinterpret_cast<float4*>(shared)[i] = reinterpret_cast<const float4*>(x)[i];
    }
    for (int i = fours * 4 + int(threadIdx.x); i < columns; i += kThreads) shared[i] = x[i];
  } else {
    for (int i = int(threadIdx.x); i < columns; i += kThreads) shared[i] = x[i];
  }
  if (threadIdx.x == 0) shared[columns] = 0.0f;  // what padding multiplies
}

// The sum of one lane's pieces of a row; two at a time are under way.
template <class T, class Get>
__device__ inline float sum_pieces(const PieceCsrView<T>& weight, index_t first, index_t end, int lane, Get x_at) {
  float sum = 0.0f;
  index_t block = first;
  for (; block + 2 * kLanesOfRow <= end; block += 2 * kLanesOfRow) {
    const Piece<T> one = Piece<T>::load(weight, block, kLanesOfRow, lane);
    const Piece<T> other = Piece<T>::load(weight, block + kLanesOfRow, kLanesOfRow, lane);
    sum += one.times(x_at);
    sum += other.times(x_at);
  }
  for (; block < end; block += kLanesOfRow) {
    const index_t pieces = end - block < kLanesOfRow ? end - block : kLanesOfRow;
    if (lane < pieces) sum += Piece<T>::load(weight, block, pieces, lane).times(x_at);
  }
  return sum;
}

template <class T, bool kShared>
__global__ void __launch_bounds__(kThreads) csr_spmv_kernel(PieceCsrView<T> weight, const float* __restrict__ x,
                                                            BiasActivation epilogue, float* __restrict__ y) {
  const int columns = int(weight.columns);
  const float* sample = x + blockIdx.y * weight.columns;
  float* shared = simt::dynamic_shared<float>();
  if constexpr (kShared) {
    load_x(sample, columns, shared);
    __syncthreads();
  }
  const auto x_at = [&](int column) {
    if constexpr (kShared) return shared[column];
    return column < columns ? sample[column] : 0.0f;
  };
  const int lane = int(threadIdx.x) % kLanesOfRow;
  const index_t row = index_t(blockIdx.x) * kRowsOfBlock + threadIdx.x / kLanesOfRow;
  const bool exists = row < weight.rows;
  const index_t first = exists ? weight.piece_offsets[row] : 0, end = exists ? weight.piece_offsets[row + 1] : 0;
  float sum = sum_pieces(weight, first, end, lane, x_at);
  simt::unrolled<3>([&](auto i) { sum += __shfl_xor_sync(~0u, sum, kLanesOfRow >> (i + 1)); });
  if (!exists || lane != 0) return;
  const float bias = epilogue.bias == nullptr ? 0.0f : epilogue.bias[row];
  y[blockIdx.y * weight.rows + row] = apply_activation(epilogue.activation, sum + bias, epilogue.slope);
}

}  // namespace

template <class T>
void csr_spmv(index_t batch, const PieceCsrView<T>& weight, const float* x, const BiasActivation& epilogue, float* y,
              cudaStream_t stream) {
  require(batch > 0 && batch <= kMaxGridYZ && weight.rows > 0 && weight.columns > 0, "csr_spmv: batch ", batch,
          ", weight ", weight.rows, " x ", weight.columns, "; all must be at least 1, the batch at most ", kMaxGridYZ);
  const bool shared = weight.columns <= kMaxSharedColumns;
  const std::size_t bytes = shared ? std::size_t(weight.columns + 1) * sizeof(float) : 0;
  simt::launch(
      shared ? csr_spmv_kernel<T, true> : csr_spmv_kernel<T, false>,
      {dim3(unsigned(ceil_div<index_t>(weight.rows, kRowsOfBlock)), unsigned(batch)), dim3(kThreads), bytes, stream},
      weight, x, epilogue, y);
}

template void csr_spmv(index_t, const PieceCsrView<float>&, const float*, const BiasActivation&, float*, cudaStream_t);
template void csr_spmv(index_t, const PieceCsrView<half>&, const float*, const BiasActivation&, float*, cudaStream_t);
template void csr_spmv(index_t, const PieceCsrView<bfloat16>&, const float*, const BiasActivation&, float*,
                       cudaStream_t);

}  // namespace espalier::kernels
