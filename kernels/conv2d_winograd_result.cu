// The result of conv2d_winograd.h: y = A' m A with bias and activation. 36 floats read and 16 written for each tile and
// filter, 10 one-dimensional transforms of 12 operations: memory bound. Neighbouring lanes read neighbouring tiles of
// m; what they make goes through shared memory (conv2d_winograd_strips.h), each bank once, to whole sectors of y.
#include "kernels/conv2d_gradient.h"
#include "kernels/conv2d_winograd_strips.h"
#include "kernels/gemm_loaders.h"
#include "kernels/grid.h"

namespace espalier::kernels {
namespace {

constexpr int kIn = kWinogradInputs, kOut = kWinogradOutputs;

// A' m
__device__ inline void transform_result(const float (&m)[kIn], float (&y)[kOut]) {
  const float near = m[1] + m[2], near_odd = m[1] - m[2], far = m[3] + m[4], far_odd = m[3] - m[4];
  y[0] = m[0] + near + far;
  y[1] = near_odd + 2.0f * far_odd;
  y[2] = near + 4.0f * far;
  y[3] = near_odd + 8.0f * far_odd + m[5];
}

// Four values of a row of a tile, of which the plane may have less, in the lane's order.
template <int kVector>
__device__ inline void store_own(float* to, int left, int turn, float (&values)[kOut]) {
  unturn<kVector>(values, turn);
  if constexpr (kVector == 4) {
    simt::store_shared(to, values);
  } else {
#pragma unroll
    for (int i = 0; i < kOut; i += kVector) {
      const int at = i ^ turn * kVector;
      if (at >= left) continue;
      if constexpr (kVector == 2) {
        simt::store_shared(to + at, {values[i], values[i + 1]});
      } else {
        to[at] = values[i];
      }
    }
  }
}

// One tile from m, of the block's first plane and tile, to shared memory.
template <int kVector>
__device__ inline void transform_tile(const WinogradChunk& chunk, const StripBlock<kVector>& block, const StripTile& t,
                                      int turn, const float* __restrict__ m, float shift, float slope, float* shared) {
  const int width = block.strips.width;
  const index_t plane = index_t(chunk.filters) * chunk.pitch;
  index_t next_row = kIn * plane;
  simt::forget_origin(next_row);
  m += t.plane * chunk.pitch + t.tile;
  float half[kIn][kOut];  // of each column
#pragma unroll
  for (int column = 0; column < kIn; ++column) {
    float of_column[kIn];
    const float* from = m + column * plane;
#pragma unroll
    for (int row = 0; row < kIn; ++row, from += next_row) of_column[row] = *from;
    transform_result(of_column, half[column]);
  }
  float* to = shared + block.start(t) + t.across * kOut;
#pragma unroll
  for (int row = 0; row < kOut; ++row, to += width) {
    const float of_row[kIn] = {half[0][row], half[1][row], half[2][row], half[3][row], half[4][row], half[5][row]};
    float values[kOut];
    transform_result(of_row, values);
#pragma unroll
    for (int i = 0; i < kOut; ++i) values[i] = bend(values[i] + shift, values[i] + shift, slope);
    if (t.line * kOut + row < block.strips.height) store_own<kVector>(to, width - t.across * kOut, turn, values);
  }
}

// Up to 128 registers: all 36 loads of a tile are under way together.
template <int kVector>
__global__ void __launch_bounds__(kStripThreads, 2)
    winograd_result_kernel(WinogradChunk chunk, WinogradStrips strips, const float* __restrict__ m,
                           const float* __restrict__ bias, float slope, float* __restrict__ y) {
  float* shared = simt::dynamic_shared<float>();
  const StripBlock<kVector> block(strips, y);
  const int tiles = block.tiles(), all = block.planes * tiles;
  m += block.plane * chunk.pitch + block.first_line * strips.across;
  for (int i = int(threadIdx.x); i - int(threadIdx.x) % 32 < all; i += int(blockDim.x)) {
    const StripTile t = block.tile(i, tiles);
    const int turn = block.turn(t);
    if (i >= all) continue;
    const float shift = bias == nullptr ? 0.0f : bias[block.plane + t.plane];
    transform_tile(chunk, block, t, turn, m, shift, slope, shared);
  }
  __syncthreads();
  for_each_chunk(block, y + block.origin(), shared, [](float* to, const float* from, auto count) {
    float run[count];
    detail::load_floats<count>(from, run);
    store_run(to, count, true, run);
  });
}

}  // namespace

void winograd_result(const WinogradChunk& chunk, const float* m, const float* bias, float slope, float* y,
                     cudaStream_t stream) {
  const WinogradStrips strips = result_strips(chunk, y);
  const auto kernel = strips.vector == 4   ? winograd_result_kernel<4>
                      : strips.vector == 2 ? winograd_result_kernel<2>
                                           : winograd_result_kernel<1>;
  simt::launch(kernel, strips_launch(strips, stream), chunk, strips, m, bias, slope, y);
}

}  // namespace espalier::kernels
