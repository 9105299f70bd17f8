// The transforms of conv2d_winograd.h: memory bound, 12 operations for each of the 12 one-dimensional transforms of a
// tile. Neighbouring lanes have neighbouring columns of an image where they read or write it, and neighbouring tiles
// where they read or write v and m: whole sectors on both sides, shared memory turns one order into the other.
#include <numeric>

#include "kernels/conv2d_gradient.h"
#include "kernels/conv2d_winograd_steps.h"
#include "kernels/gemm_loaders.h"
#include "kernels/grid.h"
#include "kernels/require.h"

namespace espalier::kernels {
namespace {

constexpr int kIn = kWinogradInputs, kOut = kWinogradOutputs;
// Tiles of a block at least, where there are so many: enough loads under way to hide memory's latency.
constexpr int kBlockTiles = 128, kMostTiles = 256, kMostThreads = 256;

// ---- one dimension

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

// G g
__device__ inline void transform_weights(const float (&g)[3], float (&u)[kIn]) {
  const float outer = (g[0] + g[2]) / -6.0f, middle = g[1] / 6.0f;
  const float spread = g[0] / 24.0f + g[2] / 6.0f, centre = g[1] / 12.0f;
  u[0] = 0.25f * g[0];
  u[1] = outer - middle;
  u[2] = outer + middle;
  u[3] = spread + centre;
  u[4] = spread - centre;
  u[5] = g[2];
}

// A' m
__device__ inline void transform_result(const float (&m)[kIn], float (&y)[kOut]) {
  const float near = m[1] + m[2], near_odd = m[1] - m[2], far = m[3] + m[4], far_odd = m[3] - m[4];
  y[0] = m[0] + near + far;
  y[1] = near_odd + 2.0f * far_odd;
  y[2] = near + 4.0f * far;
  y[3] = near_odd + 8.0f * far_odd + m[5];
}

// ---- weights

// A block turns 32 filters by 8 channels: as w lies in memory that is rows of neighbouring floats, of a filter each or,
// where the product's filters are w's channels, of a channel each.
constexpr int kWeightFilters = 32, kWeightChannels = 8, kTaps = 9, kWeightThreads = kWeightFilters * kWeightChannels;

struct WeightView {
  const float* w;
  int filters, channels;  // of the product
  index_t pitch;          // of u
};

// Which weights a block has in shared memory, as they lie in memory.
template <WinogradUse kUse>
struct WeightBlock {
  static constexpr bool kTurned = kUse == WinogradUse::input_gradient;
  static constexpr int kRows = kTurned ? kWeightChannels : kWeightFilters, kRow = kWeightThreads * kTaps / kRows;
  static constexpr int kPitch = kRow + 1;  // odd: lanes with neighbouring filters meet 32 banks
  int filter = int(blockIdx.x) * kWeightFilters, channel = int(blockIdx.y) * kWeightChannels;  // the first

  __device__ void load(const WeightView& of, float* shared) const {
    const int rows = kTurned ? of.channels - channel : of.filters - filter;
    const int row_end = kTaps * (kTurned ? of.filters - filter : of.channels - channel);
    const index_t stride = index_t(kTaps) * (kTurned ? of.filters : of.channels);
    const float* from = of.w + (kTurned ? channel : filter) * stride + kTaps * (kTurned ? filter : channel);
    for (int i = int(threadIdx.x); i < kRows * kRow; i += kWeightThreads) {
      const int row = i / kRow, column = i - row * kRow;
      shared[row * kPitch + column] = row < rows && column < row_end ? from[row * stride + column] : 0.0f;
    }
  }
  __device__ static float tap(const float* shared, int filter, int channel, int i) {
    const int first = kTurned ? channel * kPitch + filter * kTaps : filter * kPitch + channel * kTaps;
    return shared[first + (kTurned ? kTaps - 1 - i : i)];
  }
};

template <WinogradUse kUse>
__global__ void __launch_bounds__(kWeightThreads) winograd_weights_kernel(WeightView of, float* __restrict__ u) {
  using Block = WeightBlock<kUse>;
  __shared__ float weights[Block::kRows * Block::kPitch];
  const Block block;
  block.load(of, weights);
  __syncthreads();
  const int filter = int(threadIdx.x) % kWeightFilters, channel = int(threadIdx.x) / kWeightFilters;
  if (block.channel + channel >= of.channels) return;
  float half[3][kIn];  // of each column
#pragma unroll
  for (int column = 0; column < 3; ++column) {
    float g[3];
#pragma unroll
    for (int row = 0; row < 3; ++row) g[row] = Block::tap(weights, filter, channel, row * 3 + column);
    transform_weights(g, half[column]);
  }
  const index_t plane = of.channels * of.pitch;
  float* to = u + (block.channel + channel) * of.pitch + block.filter + filter;
#pragma unroll
  for (int row = 0; row < kIn; ++row) {
    const float g[3] = {half[0][row], half[1][row], half[2][row]};
    float whole[kIn];
    transform_weights(g, whole);
#pragma unroll
    for (int column = 0; column < kIn; ++column, to += plane) *to = whole[column];
  }
}

// ---- source

// A block's lines after the vertical transform, in shared memory [6, row]. A tile reads three pairs of floats of a row.
// The even pairs of all tiles lie together, the odd ones 16 banks further on; the pair that a line has beyond its tiles
// lies in a mirror of the even ones, where the next tile's would be: the half warps that read pairs and the warps that
// write neighbouring columns meet each bank once.
struct SourceRow {
  int across, inner, odd, beyond, floats;  // inner: columns of all lines that belong to tiles

  __host__ __device__ SourceRow(int across, int lines)
      : across(across), inner(kOut * across * lines), odd((lines * across + 15) / 16 * 32 + 16) {
    beyond = 2 * odd, floats = 3 * odd;
  }
  // The two columns that a line has beyond its tiles come last: the others are whole runs of 32.
  __device__ int columns() const { return inner + inner / (2 * across); }
  __device__ int line_of(int i) const { return i < inner ? i / (kOut * across) : (i - inner) / 2; }
  __device__ int column_of(int i, int line) const {
    return i < inner ? i - line * kOut * across : kOut * across + (i - inner) % 2;
  }
  __device__ int at(int i, int line) const {
    if (i >= inner) return beyond + 2 * (line + 1) * across + (i - inner) % 2;
    return (i & 2 ? odd : 0) + (i >> 2) * 2 + (i & 1);
  }
  __device__ int third_pair(int tile) const { return ((tile + 1) % across == 0 ? beyond : 0) + 2 * (tile + 1); }
};

// One column of a line of tiles: six inputs become six.
__device__ inline void transform_column(const WinogradChunk& chunk, const float* __restrict__ x, index_t line,
                                        int column, int row_floats, float* to) {
  const index_t image = line / chunk.down;
  const int top = int(line - image * chunk.down) * kOut - chunk.padding, left = column - chunk.padding;
  const float* from = x + image * chunk.channels * chunk.height * chunk.width + left;
  const bool inside = unsigned(left) < unsigned(chunk.width);
  float d[kIn], v[kIn];
#pragma unroll
  for (int i = 0; i < kIn; ++i) {
    const int row = top + i;
    d[i] = inside && unsigned(row) < unsigned(chunk.height) ? from[row * chunk.width] : 0.0f;
  }
  transform_source(d, v);
#pragma unroll
  for (int i = 0; i < kIn; ++i) to[i * row_floats] = v[i];
}

// One tile: its six rows of six become the 36 elements of v, a plane apart each.
__device__ inline void transform_tile(const float* shared, const SourceRow& row, int tile, bool exists, index_t plane,
                                      float* to) {
  const int third_pair = row.third_pair(tile);
#pragma unroll
  for (int i = 0; i < kIn; ++i, shared += row.floats) {
    float v[kIn] = {};
    if (exists) {
      const float2 first = *reinterpret_cast<const float2*>(shared + 2 * tile);
      const float2 second = *reinterpret_cast<const float2*>(shared + row.odd + 2 * tile);
      const float2 third = *reinterpret_cast<const float2*>(shared + third_pair);
      const float d[kIn] = {first.x, first.y, second.x, second.y, third.x, third.y};
      transform_source(d, v);
    }
#pragma unroll
    for (int column = 0; column < kIn; ++column, to += plane) *to = v[column];
  }
}

__global__ void __launch_bounds__(kMostThreads)
    winograd_source_kernel(WinogradChunk chunk, const float* __restrict__ x, float* __restrict__ v) {
  float* shared = simt::dynamic_shared<float>();
  const index_t first_line = index_t(blockIdx.x) * chunk.block_lines, left = chunk.lines() - first_line;
  const int lines = left < chunk.block_lines ? int(left) : chunk.block_lines, tiles = lines * chunk.across;
  const SourceRow row(chunk.across, lines);
  x += index_t(blockIdx.y) * chunk.height * chunk.width;
  for (int i = int(threadIdx.x); i < row.columns(); i += int(blockDim.x)) {
    const int line = row.line_of(i);
    transform_column(chunk, x, first_line + line, row.column_of(i, line), row.floats, shared + row.at(i, line));
  }
  __syncthreads();
  const index_t first_tile = first_line * chunk.across, plane = index_t(chunk.channels) * chunk.pitch;
  const int end = left <= chunk.block_lines ? int(chunk.pitch - first_tile) : tiles;  // zeros after the last tile
  v += index_t(blockIdx.y) * chunk.pitch + first_tile;
  for (int tile = int(threadIdx.x); tile < end; tile += int(blockDim.x)) {
    transform_tile(shared, row, tile, tile < tiles, plane, v + tile);
  }
}

// ---- result

// A block's outputs in shared memory [line, 4, 4 * across]: four floats of lanes with neighbouring tiles meet all
// banks, across lines too.
__host__ __device__ inline int result_line(int across) { return kOut * kOut * across + (5 * across) % 8 * 4; }

template <int kVector>
__device__ inline void copy_results(const WinogradChunk& chunk, const float* shared, index_t first_line, int lines,
                                    float* y) {
  const int line_floats = kOut * chunk.out_width, shared_row = kOut * chunk.across;
  const int shared_line = result_line(chunk.across), all = lines * line_floats;
  for (int i = kVector * int(threadIdx.x); i < all; i += kVector * int(blockDim.x)) {
    const int line = i / line_floats, rest = i - line * line_floats;
    const int row = rest / chunk.out_width;
    const index_t of_all = first_line + line, image = of_all / chunk.down;
    const int first_row = int(of_all - image * chunk.down) * kOut;
    if (first_row + row >= chunk.out_height) continue;
    const float* from = shared + line * shared_line + row * (shared_row - chunk.out_width) + rest;
    float* to = y + image * chunk.filters * chunk.out_height * chunk.out_width + first_row * chunk.out_width + rest;
    float run[kVector];
    detail::load_floats<kVector>(from, run);
    store_run(to, kVector, true, run);
  }
}

// Up to 128 registers: all 36 loads of a tile are under way together.
__global__ void __launch_bounds__(kMostThreads, 2)
    winograd_result_kernel(WinogradChunk chunk, const float* __restrict__ m, const float* __restrict__ bias,
                           float slope, bool aligned, float* __restrict__ y) {
  float* shared = simt::dynamic_shared<float>();
  const int filter = int(blockIdx.y), row_floats = kOut * chunk.across;
  const index_t first_line = index_t(blockIdx.x) * chunk.block_lines, left = chunk.lines() - first_line;
  const int lines = left < chunk.block_lines ? int(left) : chunk.block_lines, tiles = lines * chunk.across;
  const float shift = bias == nullptr ? 0.0f : bias[filter];
  const index_t plane = index_t(chunk.filters) * chunk.pitch;
  m += index_t(filter) * chunk.pitch + first_line * chunk.across;
  for (int tile = int(threadIdx.x); tile < tiles; tile += int(blockDim.x)) {
    float half[kIn][kOut];  // of each column
#pragma unroll
    for (int column = 0; column < kIn; ++column) {
      float of_column[kIn];
#pragma unroll
      for (int row = 0; row < kIn; ++row) of_column[row] = m[tile + (row * kIn + column) * plane];
      transform_result(of_column, half[column]);
    }
    const int line = tile / chunk.across, column = tile - line * chunk.across;
    float* to = shared + line * result_line(chunk.across) + kOut * column;
#pragma unroll
    for (int row = 0; row < kOut; ++row, to += row_floats) {
      const float of_row[kIn] = {half[0][row], half[1][row], half[2][row], half[3][row], half[4][row], half[5][row]};
      float values[kOut];
      transform_result(of_row, values);
#pragma unroll
      for (int i = 0; i < kOut; ++i) values[i] = bend(values[i] + shift, values[i] + shift, slope);
      simt::store_shared(to, values);
    }
  }
  __syncthreads();
  y += index_t(filter) * chunk.out_height * chunk.out_width;
  if (aligned) {
    copy_results<4>(chunk, shared, first_line, lines, y);
  } else {
    copy_results<1>(chunk, shared, first_line, lines, y);
  }
}

simt::Launch lines_launch(const WinogradChunk& chunk, int planes, int shared_floats, cudaStream_t stream,
                          std::source_location where = std::source_location::current()) {
  const index_t blocks = ceil_div<index_t>(chunk.lines(), chunk.block_lines);
  require(blocks <= kMaxGridX && planes <= kMaxGridYZ, "conv2d: ", blocks, " blocks x ", planes,
          " planes are more than a grid has; split the channels");
  const int threads = std::min(kMostThreads, ceil_div(chunk.block_lines * chunk.across, 32) * 32);
  return {dim3(unsigned(blocks), unsigned(planes)), dim3(unsigned(threads)), std::size_t(shared_floats) * sizeof(float),
          stream, where};
}

// Whole sectors of v and m where that does not take too many tiles.
int lines_of_block(int across) {
  const int unit = 8 / std::gcd(8, across);
  if (unit * across > kMostTiles) return std::max(1, kBlockTiles / across);
  return unit * ceil_div(kBlockTiles, unit * across);
}

}  // namespace

WinogradChunk::WinogradChunk(const WinogradProblem& p, index_t images)
    : height(p.height),
      width(p.width),
      out_height(p.out_height),
      out_width(p.out_width),
      padding(p.padding),
      down(p.down()),
      across(p.across()),
      channels(int(p.channels)),
      filters(int(p.filters)),
      images(images),
      pitch(winograd_pitch(images * p.tiles())),
      block_lines(lines_of_block(p.across())) {}

void winograd_weights(const WinogradProblem& p, const float* w, float* u, cudaStream_t stream) {
  const WeightView view{w, int(p.filters), int(p.channels), winograd_pitch(p.filters)};
  const simt::Launch launch{
      dim3(unsigned(view.pitch / kWeightFilters), unsigned(ceil_div<index_t>(p.channels, kWeightChannels))),
      dim3(kWeightThreads), 0, stream};
  if (p.use == WinogradUse::forward) {
    simt::launch(winograd_weights_kernel<WinogradUse::forward>, launch, view, u);
  } else {
    simt::launch(winograd_weights_kernel<WinogradUse::input_gradient>, launch, view, u);
  }
}

void winograd_source(const WinogradChunk& chunk, const float* x, float* v, cudaStream_t stream) {
  const SourceRow row(chunk.across, chunk.block_lines);
  simt::launch(winograd_source_kernel, lines_launch(chunk, chunk.channels, kIn * row.floats, stream), chunk, x, v);
}

void winograd_result(const WinogradChunk& chunk, const float* m, const float* bias, float slope, float* y,
                     cudaStream_t stream) {
  const int shared = chunk.block_lines * result_line(chunk.across);
  const bool aligned = rows_aligned(y, chunk.out_width);
  simt::launch(winograd_result_kernel, lines_launch(chunk, chunk.filters, shared, stream), chunk, m, bias, slope,
               aligned, y);
}

}  // namespace espalier::kernels
