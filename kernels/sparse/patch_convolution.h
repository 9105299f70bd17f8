// What convolutions of sparse weights on tensor cores have in common: they gather patches from images in nhwc, eight
// channels of a tap (of tf32 four) at a time, where a table says, and store sums [filter, pixel], or the largest of
// each 2 x 2. Where a pixel's patch begins is found once, by the thread that copies for it. Device code: for .cu files
// only.
#pragma once
#include <algorithm>

#include "kernels/conv2d_arranged.h"
#include "kernels/conv2d_tensor_core_launch.h"
#include "kernels/scratch.h"
#include "kernels/sparse/patch_tap.h"
#include "kernels/sparse/straight_epilogue.h"

namespace espalier::kernels {

// A bit that no tap has: what fills the last step misses every image.
inline constexpr unsigned kNoTap = 1u << (kMostTaps - 1);

// The pixels of a tile that a thread copies for. Where outputs are pooled, pixels come by windows: x.grid counts those,
// and four pixels follow each other.
template <class T, class Tile, ConvPool kPool>
class PatchPixels {
  using Map = ChunkMap<Tile, Side::b, T, Along::depth>;
  static constexpr int kAtOnce = kPool == ConvPool::halves ? 4 : 1;  // pixels of a place of the grid
  static_assert(Map::kRowsAtOnce % kAtOnce == 0, "a thread's pixels have one place in their windows");

 public:
  __device__ static int chunk() { return Map::chunk(); }  // of a step, that this thread copies

  __device__ PatchPixels(const GatherView<T>& x, index_t first, unsigned group)
      : data_(reinterpret_cast<const char*>(x.source.data + group * x.source.group)) {
    PixelGrid grid = x.grid;
    if constexpr (kPool == ConvPool::halves) {  // tiles begin with a window
      grid.row_shift += Map::row() / 2 % 2 * (grid.scale / 2), grid.column_shift += Map::row() % 2 * (grid.scale / 2);
    }
    Odometer place((first + Map::row()) / kAtOnce, grid.rows, grid.columns);
    const Odometer pass_step(Map::kRowsAtOnce / kAtOnce, grid.rows, grid.columns);
    const int left = int(grid.pixels - first) - Map::row();  // pixels from this thread's first on
#pragma unroll
    for (int pass = 0; pass < Map::kPasses; ++pass) {
      const PatchOrigin origin = PatchOrigin::of(grid, place, x.source);
      chunk_[pass] = origin.chunk;
      missed_[pass] = pass * Map::kRowsAtOnce < left ? origin.missed : ~0u;
      place.add(pass_step);
    }
  }
  __device__ void copy(char* tile, const PatchTap& tap) const {
    const char* from = simt::step_from(data_, tap.chunk, kChunkBytes);
#pragma unroll
    for (int pass = 0; pass < Map::kPasses; ++pass) {
      simt::async_copy_or_zero<kChunkBytes>(tile + Map::offset(pass), simt::step_from(from, chunk_[pass], kChunkBytes),
                                            (tap.wanted & missed_[pass]) == 0);
    }
  }

 private:
  const char* data_;
  int chunk_[Map::kPasses];
  unsigned missed_[Map::kPasses];
};

// The largest of each window to y. A window is four neighbours of a row of C, two with a lane and two with the next
// one: of an instruction's rows g and g + 8 either lane of such a pair takes one. All shuffles come first: nvcc would
// make those behind a store's guard twice, once for lanes that are done.
template <class Block, class T>
__device__ inline void store_windows(const typename Block::Sums& sums, index_t row, index_t pixel,
                                     const detail::PixelStore<T>& y) {
  const int lane = int(threadIdx.x) % 32;
  const bool odd = lane % 2 == 1;
  const auto larger = [](float x, float y) { return wins(y, x) ? y : x; };
  const index_t channel = row + Block::warp_row() + lane / 4 + (odd ? 8 : 0);
  const index_t window = (pixel + Block::warp_column()) / 4 + lane % 4 / 2;
  float best[Block::FragmentsB::kFragments][Block::FragmentsA::kFragments];
#pragma unroll
  for (int j = 0; j < Block::FragmentsB::kFragments; ++j) {
#pragma unroll
    for (int i = 0; i < Block::FragmentsA::kFragments; ++i) {
      const float low = larger(sums[i][j][0], sums[i][j][1]), high = larger(sums[i][j][2], sums[i][j][3]);
      best[j][i] = larger(odd ? high : low, __shfl_xor_sync(~0u, odd ? low : high, 1));
    }
  }
#pragma unroll
  for (int j = 0; j < Block::FragmentsB::kFragments; ++j) {
    const auto to = y.across(0, window + 2 * j);
#pragma unroll
    for (int i = 0; i < Block::FragmentsA::kFragments; ++i) y.put(to, channel + 16 * i, best[j][i]);
  }
}

namespace detail {

// Of a group, and of all.
inline index_t padded_channels(const Conv2dShape& s) { return detail::eights(s.channels_per_group()); }
inline index_t pixel_channels(const Conv2dShape& s) { return s.groups * padded_channels(s); }

template <class T>
void require_patches(const char* name, const Conv2dShape& s) {
  require_valid(s, name);
  require(s.groups == 1 || (s.channels_per_group() % 8 == 0 && s.filters_per_group() % 64 == 0), name, ": groups of ",
          s.channels_per_group(), " channels and ", s.filters_per_group(), " filters; it takes multiples of 8 and 64");
  require(std::max(s.kernel_height, s.kernel_width) < kMostTaps, name, ": a kernel of ", s.kernel_height, " x ",
          s.kernel_width, "; it takes ", kMostTaps - 1, " taps along an axis");
  require(tensor_cores_number<T>(s), name, ": ", s.batch, " images of ", s.channels, " x ", s.height, " x ", s.width,
          " are more than 32 bits number; split the batch");
}

inline void require_pooled(const char* name, const Conv2dShape& s, Activation activation, ConvPool pool) {
  require(pool == ConvPool::none || (is_straight(activation) && s.out_height() >= 2 && s.out_width() >= 2), name,
          ": pools outputs of 2 x 2 and more, behind none, relu and leaky_relu; these are ", s.out_height(), " x ",
          s.out_width());
}

// Elements that the rounded images need.
inline index_t images_size(const Conv2dShape& s) { return s.batch * s.height * s.width * eights(s.channels); }

// The images as the kernel reads them: as they come, or rounded into `operand`.
template <class T>
NhwcView<T> narrow_images(const Conv2dShape& s, const ConvImages<T>& images, T* operand, cudaStream_t stream) {
  if (images.x_operand != nullptr) return images_at(s, images.x_operand);
  Scratch scratch({reinterpret_cast<float*>(operand), images_size(s) * index_t(sizeof(T)) / 4});
  return rounded_images<T>(scratch, s, images.x, stream);
}

// The pixels of y, which are windows of outputs where those are pooled.
template <class T, ConvPool kPool>
PixelStore<T> pixel_store(const Conv2dShape& s, const BiasActivation& epilogue, const ConvImages<T>& images) {
  const index_t step = kPool == ConvPool::halves ? 2 : 1;
  const index_t rows = s.out_height() / step, columns = s.out_width() / step, plane = rows * columns;
  const bool nhwc = images.y_operand != nullptr;
  const index_t image = plane * s.filters;
  const PixelStrides to =
      nhwc ? PixelStrides{image, 0, 1, columns * s.filters, s.filters} : PixelStrides{image, 0, plane, columns, 1};
  return {.y = images.y,
          .channels = s.filters,
          .pixels = s.batch * plane,
          .group_channels = s.filters_per_group(),
          .rows = unsigned(rows),
          .columns = unsigned(columns),
          .to = to,
          .bias = epilogue.bias,
          .slope = StraightEpilogue(epilogue).slope,
          .joined = !nhwc && rows_aligned(images.y, plane),
          .operand = images.y_operand};
}

}  // namespace detail
}  // namespace espalier::kernels
