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
};

inline constexpr int kMostTaps = 16;  // along an axis: a bit each in half a mask

template <class T>
struct GatherView {
  NhwcView<T> source;
  PixelGrid grid;
};

// The first source row and column of a pixel, and the chunk where its image begins.
struct PixelPlace {
  index_t image;
  int row, column;

  __device__ PixelPlace(const PixelGrid& grid, index_t pixel) {
    const index_t line = divide(pixel, grid.columns);
    image = divide(line, grid.rows);
    row = int(line - image * grid.rows) * grid.scale + grid.row_shift;
    column = int(pixel - line * grid.columns) * grid.scale + grid.column_shift;
  }
};

// A bit for each tap row, and from kMostTaps on for each tap column.
__device__ inline unsigned tap_mask(int row, int column) { return 1u << row | 1u << (column + kMostTaps); }

// Those that meet the image from there; a tap does if both its bits are set.
__device__ inline unsigned valid_taps(const PixelGrid& grid, const PixelPlace& place, int height, int width) {
  unsigned valid = 0;
  for (int tap = 0; tap < grid.tap_rows; ++tap) {
    if (unsigned(place.row + tap * grid.step) < unsigned(height)) valid |= 1u << tap;
  }
  for (int tap = 0; tap < grid.tap_columns; ++tap) {
    if (unsigned(place.column + tap * grid.step) < unsigned(width)) valid |= 1u << (tap + kMostTaps);
  }
  return valid;
}

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
        step_(kStepDepth<T>, p.grid.tap_columns, p.source.channels) {
    find_tap();
#pragma unroll
    for (int pass = 0; pass < Map::kPasses; ++pass) {
      const PixelPlace place(p.grid,
                             detail::clamp_index(first + Map::row() + pass * Map::kRowsAtOnce, p.grid.pixels - 1));
      const index_t pixel = index_t(place.row) * p.source.width + place.column;
      chunk_[pass] = int((place.image * p.source.image + pixel * p.source.pixel) / kChunk<T>);
      valid_[pass] = valid_taps(p.grid, place, p.source.height, p.source.width);
    }
  }

  __device__ void fetch_first(char* tile, int depth) {
    copy(tile, Map::chunk() * kChunk<T> < depth ? 0u : ~0u);
    k_ += depth;
    tap_ = Odometer(k_, p_.grid.tap_columns, p_.source.channels);
    find_tap();
  }
  template <Place>
  __device__ void fetch(char* tile) {
    copy(tile, 0u);
    tap_.add(step_);
    find_tap();
  }
  __device__ void commit(char*) {}

 private:
  __device__ void find_tap() {
    const int pixel = (tap_.high * p_.source.width + tap_.middle) * p_.grid.step;
    from_ = data_ + (pixel * p_.source.pixel + tap_.low);
    wanted_ = tap_mask(tap_.high, tap_.middle);
  }
  __device__ void copy(char* tile, unsigned never) const {
    const unsigned wanted = wanted_ | never;
#pragma unroll
    for (int pass = 0; pass < Map::kPasses; ++pass) {
      simt::async_copy_or_zero<kChunkBytes>(tile + Map::offset(pass), simt::step_from(from_, chunk_[pass], kChunkBytes),
                                            (wanted & ~valid_[pass]) == 0);
    }
  }

  const Parameters& p_;
  const T *data_, *from_;
  index_t k_;
  Odometer tap_, step_;
  unsigned wanted_;               // the mask of the tap
  int chunk_[Map::kPasses];       // of the pixel's first tap
  unsigned valid_[Map::kPasses];  // which tap rows, and above them which tap columns, meet the image
};

// Where the patch of a pixel begins, and which taps of it meet the image: made once for all blocks, since a weight
// gradient walks along the pixels.
struct alignas(8) PatchOrigin {
  int chunk;       // of the source
  unsigned valid;  // taps
};

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
                                            inside && (column_.wanted & ~next_[pass].valid) == 0);
    }
  }

  PatchColumn column_;
  const T* data_;
  const PatchOrigin* origin_;
  PatchOrigin next_[Map::kPasses];
};

}  // namespace espalier::kernels
