// The source of conv2d_winograd.h transformed: v = B' d B of tiles of 6 x 6 that overlap by two. 16 floats read and 36
// written for each tile and channel, 12 one-dimensional transforms of 12 operations: memory bound. Images are copied to
// shared memory past the registers (conv2d_winograd_strips.h); a lane takes a tile, four columns of it from there and
// the outer two from its neighbours' registers, and neighbouring lanes write neighbouring elements of v: whole sectors
// on both sides, each bank once.
#include "kernels/conv2d_winograd_strips.h"
#include "kernels/grid.h"
#include "kernels/simt/async_copy.h"
#include "kernels/simt/vector_store.h"

namespace espalier::kernels {
namespace {

constexpr int kIn = kWinogradInputs, kOut = kWinogradOutputs;

// B' d
__device__ inline void transform_source(const float (&d)[kIn], float (&v)[kIn]) {
  const float even = d[4] - 4.0f * d[2], odd = d[3] - 4.0f * d[1], near = d[4] - d[2], far = d[3] - d[1];
  v[0] = 4.0f * d[0] + (d[4] - 5.0f * d[2]);
  v[1] = even + odd;
  v[2] = even - odd;
  v[3] = near + 2.0f * far;
  v[4] = near - 2.0f * far;
  v[5] = 4.0f * d[1] + (d[5] - 5.0f * d[3]);
}

// Where a tile's rows are in shared memory, and which of its elements are in the image.
template <int kVector>
struct SourceTile {
  const float* shared;  // the first of the four columns that the lane reads itself
  int top, column, height, width, turn, next_line;
  bool exists, has_lower, has_upper;  // lanes with the neighbour tiles
  bool reads_left, reads_right;       // outer columns that no neighbour has

  __device__ SourceTile(const StripBlock<kVector>& block, const StripTile& t, const float* strips)
      : top(t.line * kOut - block.strips.shift),
        column(t.across * kOut + 1 - block.strips.shift),
        height(block.strips.height),
        width(block.strips.width),
        turn(block.turn(t)),
        next_line(block.strips.line - kOut * width),
        exists(t.exists),
        has_lower(t.across > 0 && threadIdx.x % 32 > 0),
        has_upper(t.across < block.strips.across - 1 && threadIdx.x % 32 < 31),
        reads_left(!has_lower && has_column(-1)),
        reads_right(!has_upper && has_column(kOut)) {
    shared = strips + block.start(t) + column - (kVector == 4 ? width : 0);
  }

  __device__ bool has_row(int row) const { return exists && unsigned(top + row) < unsigned(height); }
  __device__ bool has_column(int i) const { return unsigned(column + i) < unsigned(width); }
  // With kVector 4 the first row belongs to the line before, the last to the one after.
  __device__ const float* row(int i) const {
    if constexpr (kVector < 4) return shared + i * width;
    return shared + i * width + (i == 0 ? -next_line : i == kIn - 1 ? next_line : 0);
  }

  __device__ void load_own(const float* from, bool there, float (&own)[kOut]) const {
    if constexpr (kVector == 4) {
      const float4 four = there ? *reinterpret_cast<const float4*>(from) : make_float4(0.0f, 0.0f, 0.0f, 0.0f);
      own[0] = four.x, own[1] = four.y, own[2] = four.z, own[3] = four.w;
    } else if constexpr (kVector == 2) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int at = (i ^ turn) * 2;
        const float2 two =
            there && has_column(at) ? *reinterpret_cast<const float2*>(from + at) : make_float2(0.0f, 0.0f);
        own[2 * i] = two.x, own[2 * i + 1] = two.y;
      }
    } else {
#pragma unroll
      for (int i = 0; i < kOut; ++i) {
        const int at = i ^ turn;
        own[i] = there && has_column(at) ? from[at] : 0.0f;
      }
    }
    unturn<kVector>(own, turn);
  }
  // All lanes of a warp together.
  __device__ void load_row(int i, float (&d)[kIn]) const {
    const float* from = row(i);
    const bool there = has_row(i);
    float own[kOut];
    load_own(from, there, own);
    const float left = there && reads_left ? from[-1] : 0.0f, right = there && reads_right ? from[kOut] : 0.0f;
    const float lower = __shfl_up_sync(0xFFFFFFFFu, own[kOut - 1], 1);
    const float upper = __shfl_down_sync(0xFFFFFFFFu, own[0], 1);
    d[0] = has_lower ? lower : left, d[kIn - 1] = has_upper ? upper : right;
#pragma unroll
    for (int j = 0; j < kOut; ++j) d[j + 1] = own[j];
  }
};

// The other dimension, and the 36 elements to v, a plane apart each.
__device__ inline void store_tile(const float (&half)[kIn][kIn], index_t plane, float* v) {
  index_t next_row = kIn * plane;
  simt::forget_origin(next_row);
#pragma unroll
  for (int column = 0; column < kIn; ++column, v += plane) {
    const float d[kIn] = {half[0][column], half[1][column], half[2][column],
                          half[3][column], half[4][column], half[5][column]};
    float whole[kIn];
    transform_source(d, whole);
    float* to = v;
#pragma unroll
    for (int row = 0; row < kIn; ++row, to += next_row) *to = whole[row];
  }
}

template <int kVector>
__global__ void __launch_bounds__(kStripThreads, 3)
    winograd_source_kernel(WinogradChunk chunk, WinogradStrips strips, const float* __restrict__ x,
                           float* __restrict__ v) {
  float* shared = simt::dynamic_shared<float>();
  const StripBlock<kVector> block(strips, x);
  for_each_chunk(block, x + block.origin(), shared, [](const float* from, float* to, auto count) {
    simt::async_copy<count* int(sizeof(float))>(to, from);
  });
  simt::async_commit();
  simt::async_wait<0>();
  __syncthreads();
  const index_t first_tile = block.first_line * strips.across, plane = index_t(chunk.channels) * chunk.pitch;
  const int end = block.is_last() ? int(chunk.pitch - first_tile) : block.tiles();  // zeros after the last tile
  const int all = block.planes * end;
  v += block.plane * chunk.pitch + first_tile;
  for (int i = int(threadIdx.x); i - int(threadIdx.x) % 32 < all; i += int(blockDim.x)) {
    const StripTile t = block.tile(i, end);
    const SourceTile<kVector> tile(block, t, shared);
    float half[kIn][kIn];  // of each row
#pragma unroll
    for (int row = 0; row < kIn; ++row) {
      float d[kIn];
      tile.load_row(row, d);
      transform_source(d, half[row]);
    }
    if (i >= all) continue;
    store_tile(half, plane, v + t.plane * chunk.pitch + t.tile);
  }
}

}  // namespace

void winograd_source(const WinogradChunk& chunk, const float* x, float* v, cudaStream_t stream) {
  const WinogradStrips strips = source_strips(chunk, x);
  const auto kernel = strips.vector == 4   ? winograd_source_kernel<4>
                      : strips.vector == 2 ? winograd_source_kernel<2>
                                           : winograd_source_kernel<1>;
  simt::launch(kernel, strips_launch(strips, stream), chunk, strips, x, v);
}

}  // namespace espalier::kernels
