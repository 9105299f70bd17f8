#include "kernels/sparse/narrow_operand.h"

#include <cstring>

#include "kernels/grid.h"
#include "kernels/precision.h"
#include "kernels/require.h"

namespace espalier::kernels {
namespace {

// A block for each row.
template <class T>
__global__ void narrow_operand_kernel(index_t columns, index_t padded, const float* __restrict__ x,
                                      T* __restrict__ operand) {
  const float* const from = x + blockIdx.x * columns;
  T* const to = operand + blockIdx.x * padded;
  for (index_t i = threadIdx.x; i < padded; i += blockDim.x) {
    const float value = i < columns ? from[i] : 0.0f;
    to[i] = from_float<T>(sizeof(T) == 4 ? round_to_tf32(value) : value);
  }
}

// 16 bytes of a row of x, rounded.
template <class T>
__device__ inline uint4 narrow_chunk(const float* __restrict__ from, index_t left) {
  constexpr int kChunk = 16 / int(sizeof(T));
  T values[kChunk];
#pragma unroll
  for (int i = 0; i < kChunk; ++i) {
    const float value = i < left ? from[i] : 0.0f;
    values[i] = from_float<T>(sizeof(T) == 4 ? round_to_tf32(value) : value);
  }
  uint4 packed;
  memcpy(&packed, values, sizeof packed);
  return packed;
}

// A thread for a chunk of samples g and g + 8: a warp reads four neighbouring chunks of 16 samples.
template <class T>
__global__ void narrow_panels_kernel(index_t batch, index_t columns, index_t padded, const float* __restrict__ x,
                                     T* __restrict__ operand) {
  constexpr int kChunk = 16 / int(sizeof(T));
  const int chunk = int(blockIdx.x) * 4 + int(threadIdx.x) / 8 % 4, g = int(threadIdx.x) % 8;
  const int fragment = int(threadIdx.x) / 32;
  const index_t sample = index_t(blockIdx.y) * kNarrowPanel + fragment * 16 + g, first = index_t(chunk) * kChunk;
  const float* from = x + sample * columns + first;
  const uint4 low = narrow_chunk<T>(from, sample < batch ? columns - first : 0);
  const uint4 high = narrow_chunk<T>(from + 8 * columns, sample + 8 < batch ? columns - first : 0);
  uint4* to =
      reinterpret_cast<uint4*>(operand) + (blockIdx.y * (padded / kChunk) + chunk) * kNarrowPanel + fragment * 16 + g;
  to[0] = make_uint4(low.x, high.x, low.y, high.y);
  to[8] = make_uint4(low.z, high.z, low.w, high.w);
}

constexpr int kSquare = 32, kRowsAtOnce = 8;

// Squares through shared memory, so that both sides are coalesced.
template <class T>
__global__ void narrow_columns_kernel(PanelShape shape, const float* __restrict__ x, T* __restrict__ panels) {
  __shared__ float square[kSquare][kSquare + 1];  // the odd pitch spreads a column over all banks
  const index_t sample = index_t(blockIdx.x) * kSquare, column = index_t(blockIdx.y) * kSquare;
  for (int i = int(threadIdx.y); i < kSquare; i += kRowsAtOnce) {
    const bool inside = sample + i < shape.batch && column + threadIdx.x < shape.features;
    square[i][threadIdx.x] = inside ? x[(sample + i) * shape.features + column + threadIdx.x] : 0.0f;
  }
  __syncthreads();
  T* const panel = panels + sample / shape.width * shape.features * shape.width + sample % shape.width + threadIdx.x;
  for (int i = int(threadIdx.y); i < kSquare && column + i < shape.features; i += kRowsAtOnce) {
    const float value = square[threadIdx.x][i];
    panel[(column + i) * shape.width] = from_float<T>(sizeof(T) == 4 ? round_to_tf32(value) : value);
  }
}

}  // namespace

template <class T>
void narrow_operand(index_t batch, index_t columns, index_t padded, const float* x, T* operand, cudaStream_t stream) {
  simt::launch(narrow_operand_kernel<T>, {dim3(unsigned(batch)), dim3(simt::kElementThreads), 0, stream}, columns,
               padded, x, operand);
}

template <class T>
void narrow_panels(index_t batch, index_t columns, index_t padded, const float* x, T* operand, cudaStream_t stream) {
  const index_t panels = ceil_div(batch, kNarrowPanel);
  require(panels <= kMaxGridYZ, "narrow_panels: a batch of ", batch, " is too large; split it");
  const index_t chunks = padded * index_t(sizeof(T)) / 16;
  simt::launch(narrow_panels_kernel<T>,
               {dim3(unsigned(chunks / 4), unsigned(panels)), dim3(unsigned(2 * kNarrowPanel)), 0, stream}, batch,
               columns, padded, x, operand);
}

template <class T>
void narrow_columns(const PanelShape& shape, const float* x, T* panels, cudaStream_t stream) {
  const index_t squares = ceil_div<index_t>(shape.features, kSquare);
  require(shape.width % kSquare == 0, "narrow_columns: width is ", shape.width, "; it must be a multiple of ", kSquare);
  require(squares <= kMaxGridYZ, "narrow_columns: ", shape.features, " columns need more blocks than a grid has");
  simt::launch(narrow_columns_kernel<T>,
               {dim3(unsigned(shape.panels() * shape.width / kSquare), unsigned(squares)), dim3(kSquare, kRowsAtOnce),
                0, stream},
               shape, x, panels);
}

template void narrow_operand(index_t, index_t, index_t, const float*, half*, cudaStream_t);
template void narrow_operand(index_t, index_t, index_t, const float*, bfloat16*, cudaStream_t);
template void narrow_operand(index_t, index_t, index_t, const float*, float*, cudaStream_t);
template void narrow_panels(index_t, index_t, index_t, const float*, half*, cudaStream_t);
template void narrow_panels(index_t, index_t, index_t, const float*, bfloat16*, cudaStream_t);
template void narrow_panels(index_t, index_t, index_t, const float*, float*, cudaStream_t);
template void narrow_columns(const PanelShape&, const float*, half*, cudaStream_t);
template void narrow_columns(const PanelShape&, const float*, bfloat16*, cudaStream_t);
template void narrow_columns(const PanelShape&, const float*, float*, cudaStream_t);

}  // namespace espalier::kernels
