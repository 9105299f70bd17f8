// Convolution by tiles: the loaders that turn gemm_tile.h's product into an implicit GEMM, for forward and the input
// gradient. Both gather, for column = (image, row, column) of some grid of pixels and k = (channel, tap row, tap
// column), source[image][channel][row0 + tap row * row_step][column0 + tap column * column_step]:
//   forward          the pixels of y read x from stride * row - padding on, dilation apart
//   input gradient   the pixels of dx read dy backwards. Those with the same remainder by the stride (a phase) share
//                    their taps, so each phase is a product of its own and no multiplication by an inserted zero is
//                    left
// A thread keeps one column, hence its row0, column0 and base address in registers. What depends on k comes from a
// table of offsets in shared memory, refilled every kTableTaps steps: two divisions per entry and block, none per
// element.
#pragma once
#include "kernels/conv2d_geometry.h"
#include "kernels/conv2d_gradient.h"
#include "kernels/gemm_loaders.h"
#include "kernels/shapes.h"
#include "kernels/tiled_product.h"

namespace espalier::kernels {

// One block computes 32 rows: the layers of small networks have 20 to 32 filters, which a 64-row tile would half waste.
struct FlatTile {
  static constexpr int kM = 32, kN = 128, kK = 16, kThreadM = 8, kThreadN = 4, kThreads = 128, kPadding = 4,
                       kBlocks = 1;
};

// How the input gradient uses the taps of the kernel: every `period`-th of an axis, for each of stride phases an axis.
struct GradientTaps {
  int kernel_height = 1, kernel_width = 1, stride = 1, padding = 0, dilation = 1, period = 1;
};

// One axis of an input gradient's phase: which taps of the kernel reach the inputs phase + a * stride, and from
// where. Output o meets input o * stride + tap * dilation - padding, so taps = first_tap + t * period, o = a + shift -
// t
// * period * dilation / stride. For a stride of 1 there is one phase, and every tap belongs to it.
struct AxisPhase {
  int first_tap = 0, taps = 0, shift = 0;

  AxisPhase() = default;
  __host__ __device__ AxisPhase(const GradientTaps& of, int phase, int kernel) {
    while (first_tap < of.period && (phase + of.padding - first_tap * of.dilation) % of.stride != 0) ++first_tap;
    if (first_tap < of.period && first_tap < kernel) {
      taps = (kernel - 1 - first_tap) / of.period + 1;
      shift = (phase + of.padding - first_tap * of.dilation) / of.stride;
    }
  }
};

struct GatherParameters {
  const float* source = nullptr;
  int height = 0, width = 0;              // of a plane of the source
  index_t image = 0, group = 0;           // floats from one image, one group to the next
  int tap_rows = 1, tap_columns = 1;      // k = (channel * tap_rows + tap row) * tap_columns + tap column
  int row_step = 1, column_step = 1;      // from tap to tap
  int pixel_rows = 1, pixel_columns = 1;  // column = (image * pixel_rows + row) * pixel_columns + column
  index_t pixels = 0;                     // of all images: the product's n
  int windows = 0, windows_across = 0;    // if any: columns come by 2 x 2 windows, those of an image rounded up to 4
  int scale = 1, shift = 0;               // row0 = row * scale + shift (and that of the phase)
  int phases = 0;                         // per axis; the product's batch is (group, row phase, column phase)
  GradientTaps gradient = {};             // if there are any
  PooledGradient pooled = {};             // the source of a fused block's input gradient
  index_t image_planes = 0, group_planes = 0;
};

struct alignas(16) TableTap {
  int offset, row, column, channel;  // one broadcast load, and one store without bank conflicts
};
inline constexpr int kTableTaps = 512;

// The table of the block; one for each kernel.
__device__ inline TableTap* tap_table() {
  __shared__ TableTap table[kTableTaps];
  return table;
}

// x / y for 0 <= x, y < 2^63; 32-bit where it can: a 64-bit division is a function call on a GPU.
__device__ inline index_t divide(index_t x, index_t y) {
  return (x | y) >> 31 == 0 ? index_t(unsigned(x) / unsigned(y)) : x / y;
}

// B [k, n] of the product, as described above; or of a source that PooledGradient makes.
template <class Tile, bool kPooled = false>
class GatherLoader {
  static constexpr int kRowsAtOnce = Tile::kThreads / Tile::kN, kPasses = Tile::kK / kRowsAtOnce;
  static_assert(Tile::kThreads % Tile::kN == 0 && Tile::kK % kRowsAtOnce == 0, "threads cover whole rows of the tile");
  static_assert(kTableTaps % Tile::kK == 0, "a step reads one filling of the table");

 public:
  using Parameters = GatherParameters;
  static constexpr Strides kStrides = kDepthMajor<Tile, Tile::kN>;

  __device__ GatherLoader(const GatherParameters& p, index_t first, index_t batch)
      : p_(p), lane_(int(threadIdx.x) % Tile::kN), k_(int(threadIdx.x) / Tile::kN) {
    const index_t image = locate(detail::clamp_index(first + lane_, p.pixels - 1));
    row_ = row_ * p.scale + p.shift, column_ = column_ * p.scale + p.shift;
    tap_rows_ = p.tap_rows, tap_columns_ = p.tap_columns;
    if (p.phases > 0) {
      const int phase = int(batch % (p.phases * p.phases));
      batch /= p.phases * p.phases;
      const AxisPhase rows(p.gradient, phase / p.phases, p.gradient.kernel_height);
      const AxisPhase columns(p.gradient, phase % p.phases, p.gradient.kernel_width);
      row_ += rows.shift, column_ += columns.shift;
      tap_rows_ = rows.taps, tap_columns_ = columns.taps;
    }
    pixel_ = p.source + image * p.image + batch * p.group + index_t(row_) * p.width + column_;
    plane_ = image * p.image_planes + batch * p.group_planes;
  }

  __device__ void start(index_t k) { table_begin_ = k - kTableTaps; }

  template <class Depth>
  __device__ void fetch(index_t k, Depth depth) {
    if (k >= table_begin_ + kTableTaps) fill_table(k);
    const TableTap* taps = tap_table() + (k - table_begin_);
#pragma unroll
    for (int pass = 0; pass < kPasses; ++pass) {
      const int at = k_ + pass * kRowsAtOnce;
      if (!inside(at, depth)) continue;
      const TableTap tap = taps[at];
      if constexpr (kPooled) {
        stage_[pass] = p_.pooled.at(plane_ + tap.channel, row_ + tap.row, column_ + tap.column);
      } else {
        const bool in_image =
            unsigned(row_ + tap.row) < unsigned(p_.height) && unsigned(column_ + tap.column) < unsigned(p_.width);
        stage_[pass] = in_image ? pixel_[tap.offset] : 0.0f;
      }
    }
  }

  template <class Depth>
  __device__ void commit(float* tile, Depth) {
#pragma unroll
    for (int pass = 0; pass < kPasses; ++pass) tile[(k_ + pass * kRowsAtOnce) * kStrides.depth + lane_] = stage_[pass];
  }

 private:
  // Row and column of a pixel; its image is returned.
  __device__ index_t locate(index_t pixel) {
    if (p_.windows == 0) {
      const index_t row = divide(pixel, p_.pixel_columns), image = divide(row, p_.pixel_rows);
      row_ = int(row - image * p_.pixel_rows), column_ = int(pixel - row * p_.pixel_columns);
      return image;
    }
    const index_t padded = (p_.windows + 3) / 4 * 4, all = pixel / 4, image = divide(all, padded);
    const int place = int(pixel % 4), window = int(detail::clamp_index(all - image * padded, p_.windows - 1));
    row_ = window / p_.windows_across * 2 + place / 2, column_ = window % p_.windows_across * 2 + place % 2;
    return image;
  }

  // All threads come here in the same step: k is theirs in common.
  __device__ void fill_table(index_t k) {
    __syncthreads();
    table_begin_ = k;
    for (int i = int(threadIdx.x); i < kTableTaps; i += Tile::kThreads) {
      const PatchEntry of(int(k) + i, tap_rows_, tap_columns_);  // below 2^30
      const int down = of.row * p_.row_step, right = of.column * p_.column_step;
      tap_table()[i] = {of.channel * p_.height * p_.width + down * p_.width + right, down, right, of.channel};
    }
    __syncthreads();
  }

  const GatherParameters& p_;
  int lane_, k_, row_, column_, tap_rows_, tap_columns_;
  index_t table_begin_ = 0;
  const float* pixel_;
  index_t plane_;
  float stage_[kPasses] = {};
};

// Where four columns of a product, pixels counted through all images, lie in maps [images, planes, plane]. That is the
// same for every row of the product: a thread divides once for all of its own.
struct PixelRun {
  index_t offset[4];  // floats from the row's plane of the first image; negative: there is no such pixel
  bool whole;         // one after another

  __device__ PixelRun(index_t column, index_t pixels, index_t plane, index_t planes) {
    const index_t image = divide(column, plane);
    index_t pixel = column - image * plane, at = image * planes * plane + pixel;
    whole = column < pixels && pixel + 4 <= plane;
#pragma unroll
    for (int i = 0; i < 4; ++i, ++at) {
      offset[i] = column + i < pixels ? at : -1;
      if (++pixel == plane) pixel = 0, at += (planes - 1) * plane;
    }
  }

  __device__ void store(float* to, bool aligned, const float (&values)[4]) const {
    if (whole) return store_run(to + offset[0], 4, aligned, values);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (offset[i] >= 0) to[offset[i]] = values[i];
    }
  }
};

// The staging of operands whose k axis runs along memory: lane i of eight takes k = i and i + 8 of a row of the tile,
// so a warp reads four runs of 32 bytes, and with rows padded by 4 its transposing stores hit 32 different banks.
template <class Tile, int kWidth>
struct DeepStage {
  static constexpr int kRowsAtOnce = Tile::kThreads / 8, kRowPasses = kWidth / kRowsAtOnce, kDepthPasses = Tile::kK / 8;
  static_assert(kWidth % kRowsAtOnce == 0 && Tile::kK % 8 == 0, "threads cover whole columns of the tile");
  static constexpr Strides kStrides = kDepthMajor<Tile, kWidth>;

  int k = int(threadIdx.x) % 8, row = int(threadIdx.x) / 8;
  float value[kRowPasses][kDepthPasses] = {};

  __device__ void commit(float* tile) const {
#pragma unroll
    for (int pass = 0; pass < kRowPasses; ++pass) {
#pragma unroll
      for (int step = 0; step < kDepthPasses; ++step) {
        tile[(k + step * 8) * kStrides.depth + row + pass * kRowsAtOnce] = value[pass][step];
      }
    }
  }
};

// k as three digits (high, middle, low), counted on by a constant without a division.
struct Odometer {
  int middle_radix, low_radix, high, middle, low;

  __device__ Odometer(index_t k, int middle_radix, int low_radix) : middle_radix(middle_radix), low_radix(low_radix) {
    const index_t row = divide(k, low_radix), plane = divide(row, middle_radix);
    high = int(plane), middle = int(row - plane * middle_radix), low = int(k - row * low_radix);
  }
  __device__ void add(const Odometer& step) {
    low += step.low;
    if (low >= low_radix) low -= low_radix, ++middle;
    middle += step.middle;
    if (middle >= middle_radix) middle -= middle_radix, ++high;
    high += step.high;
  }
};

// Calls use(Tile{}) with the tile that wastes least: big ones reuse what they load more often, but their rows should be
// filled and their blocks should fill the device.
template <class Use>
void with_conv2d_tile(const ProductShape& shape, const Use& use) {
  const ProductGrid large = product_grid<LargeTile>(shape, 0);
  if (shape.m <= FlatTile::kM) return shape.n <= SmallTile::kN ? use(SmallTile{}) : use(FlatTile{});
  if (shape.m > MediumTile::kM && shape.n > MediumTile::kN &&
      large.tiles_m * large.tiles_n * shape.batch >= kWantedBlocks / 2) {
    return use(LargeTile{});
  }
  return use(MediumTile{});
}

}  // namespace espalier::kernels
