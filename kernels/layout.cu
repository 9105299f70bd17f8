// Layout changes are transpositions of one [channels, area] matrix an image. On a GPU a block of 32 x 8 threads turns a
// tile of 32 x 64 over; rows of 65 floats put a column of it into 32 different banks. On a CPU one thread does an
// image.
#include "kernels/layout.h"

#include <algorithm>

#include "kernels/grid.h"
#include "kernels/require.h"

namespace espalier::kernels {
namespace {

// y [batch, columns, padded_rows] = x [batch, rows, columns]: rows up to y_rows exist in y, those beyond `rows` as
// zero.
struct Turn {
  index_t batch, rows, columns;
  index_t x_pitch, y_pitch;  // elements from row to row
  index_t y_rows;            // elements of a row of y that are written
};

// A tile is kTile rows of x by twice as many columns. What is not an element (addresses, guards) is worked out once for
// all of a thread's eight pairs: a loop over single elements spent 58 instructions on each, more time than its memory.
constexpr int kTile = 32, kTileColumns = 2 * kTile, kTileThreads = 8;

template <class From, class To>
__global__ void __launch_bounds__(kTile* kTileThreads)
    turn_kernel(Turn turn, const From* __restrict__ x, To* __restrict__ y) {
  __shared__ float tile[kTile][kTileColumns + 1];
  const int lane = int(threadIdx.x), first = int(threadIdx.y);
  const index_t row = index_t(blockIdx.y) * kTile, column = index_t(blockIdx.x) * kTileColumns;
  const auto left = [](index_t all, index_t begin, int most) { return int(all - begin < most ? all - begin : most); };
  const int rows = left(turn.rows, row, kTile), y_rows = left(turn.y_rows, row, kTile);
  const int columns = left(turn.columns, column, kTileColumns);
  const index_t x_step = turn.x_pitch * kTileThreads, y_step = turn.y_pitch * kTileThreads;
  for (index_t image = blockIdx.z; image < turn.batch; image += gridDim.z) {
    const From* from = x + (image * turn.rows + row + first) * turn.x_pitch + column + lane;
#pragma unroll
    for (int i = 0; i < kTile; i += kTileThreads, from += x_step) {
      const bool inside = first + i < rows;
      tile[first + i][lane] = inside && lane < columns ? to_float(from[0]) : 0.0f;
      tile[first + i][lane + kTile] = inside && lane + kTile < columns ? to_float(from[kTile]) : 0.0f;
    }
    __syncthreads();
    To* to = y + (image * turn.columns + column + first) * turn.y_pitch + row + lane;
#pragma unroll
    for (int i = 0; i < kTileColumns; i += kTileThreads, to += y_step) {
      if (first + i < columns && lane < y_rows) *to = from_float<To>(tile[lane][first + i]);
    }
    __syncthreads();
  }
}

// One thread an image.
template <class From, class To>
__global__ void turn_on_host_kernel(Turn turn, const From* __restrict__ x, To* __restrict__ y) {
  for_each_element(turn.batch, [&](index_t image) {
    const From* from = x + image * turn.rows * turn.x_pitch;
    To* to = y + image * turn.columns * turn.y_pitch;
    for (index_t first = 0; first < turn.y_rows; first += kTile) {
      const index_t end = std::min(first + kTile, turn.y_rows), read = std::min(end, turn.rows);
      for (index_t column = 0; column < turn.columns; ++column) {
        To* line = to + column * turn.y_pitch;
        for (index_t row = first; row < read; ++row)
          line[row] = from_float<To>(to_float(from[row * turn.x_pitch + column]));
        for (index_t row = std::max(first, read); row < end; ++row) line[row] = from_float<To>(0.0f);
      }
    }
  });
}

template <class From, class To>
void launch_turn(const Turn& turn, const From* x, To* y, cudaStream_t stream) {
  if (turn.batch == 0 || turn.columns == 0 || turn.y_rows == 0) return;
  if constexpr (simt::kEmulated) {
    const index_t blocks = std::min<index_t>(turn.batch, simt::kElementBlocks);
    simt::launch(turn_on_host_kernel<From, To>, {.grid = dim3(unsigned(blocks)), .block = dim3(1), .stream = stream},
                 turn, x, y);
  } else {
    const index_t tiles = ceil_div<index_t>(turn.columns, kTileColumns), bands = ceil_div<index_t>(turn.y_rows, kTile);
    require(tiles <= kMaxGridX && bands <= kMaxGridYZ, "layout: ", turn.y_rows, " channels of ", turn.columns,
            " pixels are more than a grid has; cut the image");
    const dim3 grid(unsigned(tiles), unsigned(bands), unsigned(std::min(turn.batch, kMaxGridYZ)));
    simt::launch(turn_kernel<From, To>, {.grid = grid, .block = dim3(kTile, kTileThreads), .stream = stream}, turn, x,
                 y);
  }
}

}  // namespace

template <class From, class To>
void nchw_to_nhwc(const PlanesShape& shape, index_t padded_channels, const From* x, To* y, cudaStream_t stream) {
  require(padded_channels >= shape.channels, "nchw_to_nhwc: ", shape.channels, " channels do not fit into ",
          padded_channels, "; pad to at least as many");
  launch_turn(Turn{shape.batch, shape.channels, shape.area, shape.area, padded_channels, padded_channels}, x, y,
              stream);
}

template <class From, class To>
void nhwc_to_nchw(const PlanesShape& shape, index_t padded_channels, const From* x, To* y, cudaStream_t stream) {
  require(padded_channels >= shape.channels, "nhwc_to_nchw: ", padded_channels, " channels hold no ", shape.channels,
          "; ask for fewer");
  launch_turn(Turn{shape.batch, shape.area, shape.channels, padded_channels, shape.area, shape.area}, x, y, stream);
}

template void nchw_to_nhwc(const PlanesShape&, index_t, const float*, float*, cudaStream_t);
template void nchw_to_nhwc(const PlanesShape&, index_t, const float*, Tf32*, cudaStream_t);
template void nchw_to_nhwc(const PlanesShape&, index_t, const float*, half*, cudaStream_t);
template void nchw_to_nhwc(const PlanesShape&, index_t, const float*, bfloat16*, cudaStream_t);
template void nchw_to_nhwc(const PlanesShape&, index_t, const half*, half*, cudaStream_t);
template void nchw_to_nhwc(const PlanesShape&, index_t, const bfloat16*, bfloat16*, cudaStream_t);
template void nhwc_to_nchw(const PlanesShape&, index_t, const float*, float*, cudaStream_t);
template void nhwc_to_nchw(const PlanesShape&, index_t, const half*, float*, cudaStream_t);
template void nhwc_to_nchw(const PlanesShape&, index_t, const bfloat16*, float*, cudaStream_t);

}  // namespace espalier::kernels
