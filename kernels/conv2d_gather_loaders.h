// Loaders of tensor_core_product.h that gather the patches of a convolution from images in nhwc, 8 channels (of one
// tap, since channels are padded to eights) at a time:
//   PixelLoader   B [k = (tap row, tap column, channel), n = pixel]: forward, and the input gradient of a phase
//   PatchLoader   B [k = pixel, n = (tap row, tap column, channel)]: the weight gradient
// A pixel reads source row `row * scale + shift + tap row * step`, the same for columns; what lies outside is zero.
#pragma once
#include "kernels/conv2d_tiles.h"
#include "kernels/tensor_core_loaders.h"

namespace espalier::kernels {

// Images [batch, height, width, channels], `groups` of them: elements from image to image and so on.
template <class T>
struct NhwcView {
  const T* data = nullptr;
  index_t image = 0, group = 0;
  int pixel = 0, channels = 0;  // channels of a group, a multiple of 8
  int height = 0, width = 0;
};

// Which pixels gather, and where from.
struct PixelGrid {
  index_t pixels = 0;  // of all images
  int rows = 1, columns = 1;
  int tap_rows = 1, tap_columns = 1;
  int scale = 1, row_shift = 0, column_shift = 0, step = 1;
  // Pixels come by windows of 2 x 2, four following each other: rows, columns and scale are of windows.
  bool by_windows = false;
};

inline constexpr int kMostTaps = 16;  // along an axis: a bit each in half a mask

template <class T>
struct GatherView {
  NhwcView<T> source;
  PixelGrid grid;
};

// A bit for each tap row, and from kMostTaps on for each tap column.
__device__ inline unsigned tap_mask(int row, int column) { return 1u << row | 1u << (column + kMostTaps); }

// Where the patch of a pixel begins, and which taps of it miss the image: those with a bit in both.
struct alignas(8) PatchOrigin {
  int chunk;  // of the source, all images counted through; it may lie outside
  unsigned missed;

  // `place`: image, row and column of the pixel.
  template <class T>
  __device__ static PatchOrigin of(const PixelGrid& grid, const Odometer& place, const NhwcView<T>& source) {
    const int row = place.middle * grid.scale + grid.row_shift, column = place.low * grid.scale + grid.column_shift;
    unsigned missed = ~0u;
#pragma unroll 1
    for (int tap = 0; tap < grid.tap_rows; ++tap) {
      if (unsigned(row + tap * grid.step) < unsigned(source.height)) missed ^= 1u << tap;
    }
#pragma unroll 1
    for (int tap = 0; tap < grid.tap_columns; ++tap) {
      if (unsigned(column + tap * grid.step) < unsigned(source.width)) missed ^= 1u << (tap + kMostTaps);
    }
    return {((place.high * source.height + row) * source.width + column) * (source.pixel / kChunk<T>), missed};
  }
};

template <class Tile, Side kSide, class T>
class PixelLoader {
  using Map = ChunkMap<Tile, kSide, T, Along::depth>;

 public:
  using Element = T;
  using Parameters = GatherView<T>;
  static constexpr Along kAlong = Along::depth;
  static constexpr bool kStaged = false;

  __device__ PixelLoader(const Parameters& p, index_t first, const BlockRange& range)
      : p_(p),
        data_(p.source.data + range.batch * p.source.group),
        k_(range.k_begin + Map::chunk() * kChunk<T>),
        tap_(k_, p.grid.tap_columns, p.source.channels),
        step_(kStepDepth<T>, p.grid.tap_columns, p.source.channels),
        column_(p.grid.step * p.source.pixel),
        row_(p.source.width * column_) {
    static_assert(Map::kRowsAtOnce % 4 == 0, "a thread's pixels have one place in their windows");
    find_tap();
    PixelGrid grid = p.grid;
    const int at_once = grid.by_windows ? 4 : 1;
    if (grid.by_windows) {  // tiles begin with a window
      grid.row_shift += Map::row() / 2 % 2 * (grid.scale / 2), grid.column_shift += Map::row() % 2 * (grid.scale / 2);
    }
    Odometer place((first + Map::row()) / at_once, grid.rows, grid.columns);
    const Odometer pass_step(Map::kRowsAtOnce / at_once, grid.rows, grid.columns);
    const int left = int(p.grid.pixels - first) - Map::row();  // pixels from this thread's first on
#pragma unroll
    for (int pass = 0; pass < Map::kPasses; ++pass) {
      const PatchOrigin origin = PatchOrigin::of(grid, place, p.source);
      chunk_[pass] = origin.chunk;
      missed_[pass] = pass * Map::kRowsAtOnce < left ? origin.missed : ~0u;
      place.add(pass_step);
    }
  }

  __device__ void fetch_first(char* tile, int depth) {
    copy(tile, Map::chunk() * kChunk<T> < depth);
    k_ += depth;
    tap_ = Odometer(k_, p_.grid.tap_columns, p_.source.channels);
    find_tap();
  }
  template <Place>
  __device__ void fetch(char* tile) {
    copy(tile, true);
    next_tap();
    find_tap();
  }
  __device__ void commit(char*) {}

 private:
  __device__ void next_tap() {  // Odometer::add() with sums for branches, which each cost a copy in a predicated step
    tap_.low += step_.low - tap_.low_radix;
    const int no_column = tap_.low >> 31;  // -1 or 0
    tap_.low -= no_column * tap_.low_radix;
    tap_.middle += step_.middle + 1 - tap_.middle_radix + no_column;
    const int no_row = tap_.middle >> 31;
    tap_.middle -= no_row * tap_.middle_radix;
    tap_.high += step_.high + 1 + no_row;
  }
  __device__ void find_tap() {
    from_ = simt::step_from(data_, tap_.high * row_ + (tap_.middle * column_ + tap_.low), int(sizeof(T)));
    wanted_ = tap_mask(tap_.high, tap_.middle);
  }
  __device__ void copy(char* tile, bool inside) const {
#pragma unroll
    for (int pass = 0; pass < Map::kPasses; ++pass) {
      simt::async_copy_or_zero<kChunkBytes>(tile + Map::offset(pass), simt::step_from(from_, chunk_[pass], kChunkBytes),
                                            inside && (wanted_ & missed_[pass]) == 0);
    }
  }

  const Parameters& p_;
  const T *data_, *from_;
  index_t k_;
  Odometer tap_, step_;
  int column_, row_;  // elements from one tap column or row to the next
  unsigned wanted_;   // the mask of the tap
  int chunk_[Map::kPasses];
  unsigned missed_[Map::kPasses];
};

// A weight gradient walks along the pixels: their origins are found once for all blocks.
template <class T>
struct PatchView {
  NhwcView<T> source;
  PixelGrid grid;
  const PatchOrigin* origins = nullptr;  // [pixels + a step]
};

// A tap and channel of a column of dw.
struct PatchColumn {
  unsigned offset;  // elements from the origin
  unsigned wanted;

  template <class T>
  __device__ PatchColumn(const PatchView<T>& p, index_t at) {
    const Odometer tap(at, p.grid.tap_columns, p.source.channels);
    offset = unsigned((tap.high * p.source.width + tap.middle) * p.grid.step * p.source.pixel + tap.low);
    wanted = tap_mask(tap.high, tap.middle);
  }
};

template <class Tile, Side kSide, class T>
class PatchLoader {
  using Map = ChunkMap<Tile, kSide, T, Along::width>;

 public:
  using Element = T;
  using Parameters = PatchView<T>;
  static constexpr Along kAlong = Along::width;
  static constexpr bool kStaged = false;

  __device__ PatchLoader(const Parameters& p, index_t first, const BlockRange& range)
      : column_(p, detail::clamp_index(first + Map::chunk() * kChunk<T>, width(p) - kChunk<T>)),
        data_(p.source.data + range.batch * p.source.group + column_.offset),
        origin_(p.origins + range.k_begin + Map::row()) {
    read_ahead();
  }

  __device__ void fetch_first(char* tile, int depth) {
    copy(tile, depth);
    origin_ += depth;
    read_ahead();
  }
  template <Place>
  __device__ void fetch(char* tile) {
    copy(tile, kStepDepth<T>);
    origin_ += kStepDepth<T>;
    read_ahead();
  }
  __device__ void commit(char*) {}

 private:
  __device__ static index_t width(const Parameters& p) {
    return index_t(p.grid.tap_rows) * p.grid.tap_columns * p.source.channels;
  }
  __device__ void read_ahead() {  // a step early: this is a load that the copies wait for
#pragma unroll
    for (int pass = 0; pass < Map::kPasses; ++pass) next_[pass] = origin_[pass * Map::kRowsAtOnce];
  }
  __device__ void copy(char* tile, int depth) const {
#pragma unroll
    for (int pass = 0; pass < Map::kPasses; ++pass) {
      const bool inside = depth == kStepDepth<T> || Map::row() + pass * Map::kRowsAtOnce < depth;
      simt::async_copy_or_zero<kChunkBytes>(tile + Map::offset(pass),
                                            simt::step_from(data_, next_[pass].chunk, kChunkBytes),
                                            inside && (column_.wanted & next_[pass].missed) == 0);
    }
  }

  PatchColumn column_;
  const T* data_;
  const PatchOrigin* origin_;
  PatchOrigin next_[Map::kPasses];
};

}  // namespace espalier::kernels
