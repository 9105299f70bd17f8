// Per-channel work over x [batch, channels, area], the layout of images and, with area 1, of matrices.
// Reductions over batch and area cut a channel into slices of a few thousand elements, one team each, so that few
// channels still fill the device; a second kernel adds the slices in double, in a fixed order. Two readers give a team
// its slice: PlaneReader runs along the area, ColumnReader (area 1) keeps neighbouring columns in neighbouring threads,
// so both read coalesced on a GPU and in whole vectors on a CPU. Cost: x read once, 16 bytes per slice on top.
// Two Zen 5 cores: 70 GB/s over [128, 32, 28x28], 33 over [128, 64, 7x7]. Device code: for .cu files only.
#pragma once
#include <algorithm>

#include "kernels/grid.h"
#include "kernels/require.h"
#include "kernels/warp.h"

namespace espalier::kernels {

// How the channels of x are shared out: block b owns slice b / tiles of the channels in tile b % tiles.
// A slice is short enough that float partial sums stay accurate (16 to 128 terms per accumulator) and that a second
// look at it hits the cache, long enough to hide the launch.
struct ChannelGrid {
  // 32 KiB fill a CPU's first-level cache; [128, 32, 28x28] on two Zen 5 cores, 2048 to 32768 elements a slice: sums
  // 167 to 202 us without a trend, matrix columns 5.2 us at 2048, 2.5 at 8192, 2.8 beyond.
  static constexpr index_t kSliceElements = simt::kEmulated ? 8192 : 4096;
  static constexpr index_t kMostSlices = 16384;  // per channel: bounds the workspace

  unsigned tiles = 1, slices = 1;
  index_t length = 0;  // of a slice, in elements of one channel
  int threads = 1;     // per block

  simt::Launch launch(cudaStream_t stream, std::source_location where = std::source_location::current()) const {
    return {dim3(tiles * slices), dim3(unsigned(threads)), 0, stream, where};
  }
  __device__ index_t tile() const { return blockIdx.x % tiles; }
  __device__ index_t slice() const { return blockIdx.x / tiles; }
};

// The slice [begin, end) of one channel, by a team that is the whole block.
template <int kThreads>
struct PlaneReader {
  static constexpr int kBlockThreads = kThreads, kBlockChannels = 1;
  static constexpr int kChannels = 1;  // results per thread

  PlanesShape shape;
  index_t channel, begin, end;

  __device__ PlaneReader(const PlanesShape& of, const ChannelGrid& grid)
      : shape(of), channel(grid.tile()), begin(grid.slice() * grid.length) {
    const index_t stop = begin + grid.length;
    end = stop < of.per_channel() ? stop : of.per_channel();
  }

  __device__ index_t count() const { return end - begin; }
  __device__ index_t channel_of(int) const { return channel; }
  __device__ index_t first_element(int) const {  // of the slice, counted in x
    return (begin / shape.area * shape.channels + channel) * shape.area + begin % shape.area;
  }

  // result[0] = sum of load(index, image, 0) over the slice; index counts in x. Every thread gets it.
  template <class Load>
  __device__ void sum(float (&result)[kChannels], Load load) const {
    fold(result, 0.0f, load, Sum());
  }

  template <class Load, class Combine>
  __device__ void fold(float (&result)[kChannels], float identity, Load load, Combine combine) const {
    float accumulator[kAccumulators];
    for (int k = 0; k < kAccumulators; ++k) accumulator[k] = identity;
    if constexpr (kThreads == 1) {
      along_planes(accumulator, load, combine);
    } else {
      across_planes(accumulator, load, combine);
    }
    result[0] = Team<kThreads>::reduce(combine_accumulators(accumulator, combine), combine);
  }

  // body(channel, 0) by the one thread that owns the result.
  template <class Body>
  __device__ void for_each_channel(Body body) const {
    if (Team<kThreads>::leads()) body(channel, 0);
  }

 private:
  // One thread: the contiguous piece of each plane, whole vectors at a time.
  template <class Load, class Combine>
  __device__ void along_planes(float (&accumulator)[kAccumulators], Load load, Combine combine) const {
    for (index_t at = begin; at < end;) {
      const index_t image = at / shape.area, left = (image + 1) * shape.area - at;
      const index_t run = left < end - at ? left : end - at;
      const index_t first = (image * shape.channels + channel) * shape.area + (at - image * shape.area);
      Team<1>::accumulate(
          first, first + run, accumulator, [&](index_t i) { return load(i, image, 0); }, combine);
      at += run;
    }
  }

  // Many threads: strided through the slice. The stride is split once into images and pixels, so that walking from
  // plane to plane costs a compare instead of a division per element.
  template <class Load, class Combine>
  __device__ void across_planes(float (&accumulator)[kAccumulators], Load load, Combine combine) const {
    const index_t plane = shape.area, next_image = shape.channels * plane;
    const index_t step_images = kThreads / plane, step_pixels = kThreads % plane;
    const index_t step = step_images * next_image + step_pixels;
    index_t at = begin + Team<kThreads>::lane(), image = at / plane, pixel = at % plane;
    index_t i = image * next_image + channel * plane + pixel;
    while (at < end) {
      for (int k = 0; k < kAccumulators; ++k, at += kThreads) {
        if (at < end) accumulator[k] = combine(accumulator[k], load(i, image, 0));
        i += step;
        image += step_images;
        pixel += step_pixels;
        if (pixel >= plane) {
          pixel -= plane;
          i += next_image - plane;
          ++image;
        }
      }
    }
  }
};

// The rows [begin, end) of a tile of columns of x [rows, columns] (batch rows, channels columns, area 1). kAcross
// threads side by side own kPerThread columns each, kDown threads share the rows.
template <int kAcross, int kDown, int kPerThread>
struct ColumnReader {
  static constexpr int kBlockThreads = kAcross * kDown, kBlockChannels = kAcross * kPerThread;
  static constexpr int kChannels = kPerThread;

  PlanesShape shape;
  index_t first_column, begin, end;

  __device__ ColumnReader(const PlanesShape& of, const ChannelGrid& grid)
      : shape(of),
        first_column(grid.tile() * kBlockChannels + index_t(across()) * kPerThread),
        begin(grid.slice() * grid.length) {
    const index_t stop = begin + grid.length;
    end = stop < of.batch ? stop : of.batch;
  }

  __device__ static int across() { return int(threadIdx.x) % kAcross; }
  __device__ static int down() { return int(threadIdx.x) / kAcross; }
  __device__ index_t count() const { return end - begin; }
  __device__ index_t channel_of(int p) const { return first_column + p; }
  __device__ index_t first_element(int p) const { return begin * shape.channels + first_column + p; }

  template <class Load>
  __device__ void sum(float (&result)[kChannels], Load load) const {
    fold(result, 0.0f, load, Sum());
  }

  // result[p] = the fold of load(index, row, p) down column first_column + p.
  template <class Load, class Combine>
  __device__ void fold(float (&result)[kChannels], float identity, Load load, Combine combine) const {
    for (int p = 0; p < kChannels; ++p) result[p] = identity;
    const index_t left = shape.channels - first_column;
    const int mine = int(left < kChannels ? (left > 0 ? left : 0) : kChannels);
    for (index_t row = begin + down(); row < end; row += kDown) {
      const index_t first = row * shape.channels + first_column;
      if constexpr (kChannels == 1) {
        if (mine > 0) result[0] = combine(result[0], load(first, row, 0));
      } else {
        for (int p = 0; p < mine; ++p) result[p] = combine(result[p], load(first + p, row, p));
      }
    }
    if constexpr (kDown > 1) meet(result, combine);
  }

  template <class Body>
  __device__ void for_each_channel(Body body) const {
    for (int p = 0; p < kChannels; ++p) {
      if (down() == 0 && first_column + p < shape.channels) body(first_column + p, p);
    }
  }

 private:
  template <class Combine>
  __device__ void meet(float (&result)[kChannels], Combine combine) const {
    __shared__ float of_row[kDown][kAcross * kPerThread];
    __syncthreads();  // the fold before this one has been read
    for (int p = 0; p < kChannels; ++p) of_row[down()][across() + p * kAcross] = result[p];
    __syncthreads();
    for (int p = 0; p < kChannels; ++p) {
      result[p] = of_row[0][across() + p * kAcross];
      for (int d = 1; d < kDown; ++d) result[p] = combine(result[p], of_row[d][across() + p * kAcross]);
    }
  }
};

// body(i, coefficients(channel)) for every element i of x: coefficients are loaded once per plane on a CPU, from the
// cache on a GPU. To be launched on elements_grid(shape.size()).
template <class Coefficients, class Body>
__device__ inline void for_each_plane_element(const PlanesShape& shape, Coefficients coefficients, Body body) {
  const index_t threads = index_t(gridDim.x) * blockDim.x, thread = index_t(blockIdx.x) * blockDim.x + threadIdx.x;
  const index_t size = shape.size();
  if constexpr (simt::kContiguousElements) {
    const index_t run = ceil_div(size, threads), stop = run * (thread + 1), end = stop < size ? stop : size;
    for (index_t i = run * thread; i < end;) {
      index_t channel = i / shape.area % shape.channels;
      if (shape.area == 1) {
        const index_t left = shape.channels - channel, stop_row = left < end - i ? i + left : end;
        for (; i < stop_row; ++i, ++channel) body(i, coefficients(channel));
      } else {
        const index_t left = shape.area - i % shape.area, stop_plane = left < end - i ? i + left : end;
        const auto of_plane = coefficients(channel);
        for (; i < stop_plane; ++i) body(i, of_plane);
      }
    }
  } else {  // the stride is split once, so that following the channel costs two compares instead of divisions
    const index_t step_pixels = threads % shape.area, step_channels = threads / shape.area % shape.channels;
    index_t pixel = thread % shape.area, channel = thread / shape.area % shape.channels;
    for (index_t i = thread; i < size; i += threads) {
      body(i, coefficients(channel));
      pixel += step_pixels;
      channel += step_channels;
      if (pixel >= shape.area) {
        pixel -= shape.area;
        ++channel;
      }
      if (channel >= shape.channels) channel -= shape.channels;
    }
  }
}

// The second pass: y[v][c] = scale * the sum over slices of partial [slices, values, channels], in slice order.
struct PartialSums {
  index_t channels = 0, slices = 0;
  const double* partial = nullptr;
  double scale = 1.0;
  float* y[2] = {nullptr, nullptr};  // one per value; values = 1 where the second is null
};
void combine_slices(const PartialSums& sums, cudaStream_t stream);

// A single channel is one plane, whatever its batch: for work that does not ask which image an element is from.
inline PlanesShape merge_single_channel(const PlanesShape& shape) {
  return shape.channels == 1 ? PlanesShape{1, 1, shape.per_channel()} : shape;
}

// Calls visit.operator()<Reader>(grid) with the reader and grid for this shape.
template <class Visit>
void with_channel_reader(const PlanesShape& shape, RowTeam team, Visit visit) {
  using ThreadReader = PlaneReader<1>;
  using BlockReader = PlaneReader<256>;
  using ThreadColumnReader = ColumnReader<1, 1, simt::kEmulated ? 64 : 8>;
  using BlockColumnReader = ColumnReader<32, 8, 1>;
  const auto call = [&]<class Reader>(index_t per_channel) {
    constexpr index_t slice = ChannelGrid::kSliceElements / Reader::kBlockChannels;
    const index_t length = std::max(slice, ceil_div(per_channel, ChannelGrid::kMostSlices));
    const index_t tiles = ceil_div<index_t>(shape.channels, Reader::kBlockChannels);
    const index_t slices = std::max<index_t>(1, ceil_div(per_channel, length));
    const index_t blocks = tiles * slices;
    require(blocks <= kMaxGridX, "reduction of [", shape.batch, ", ", shape.channels, ", ", shape.area, "] needs ",
            blocks, " blocks, a grid has ", kMaxGridX, "; reduce it in parts");
    visit.template operator()<Reader>(ChannelGrid{unsigned(tiles), unsigned(slices), length, Reader::kBlockThreads});
  };
  const bool thread = team == RowTeam::thread || (team == RowTeam::automatic && simt::kEmulated);
  const bool columns = shape.area == 1;
  if (columns && thread) return call.template operator()<ThreadColumnReader>(shape.batch);
  if (columns) return call.template operator()<BlockColumnReader>(shape.batch);
  if (thread) return call.template operator()<ThreadReader>(shape.per_channel());
  call.template operator()<BlockReader>(shape.per_channel());
}

// Bytes for `values` doubles per channel and slice, whichever reader is chosen.
inline std::size_t channel_workspace_bytes(const PlanesShape& shape, int values) {
  std::size_t most = 0;
  for (RowTeam team : {RowTeam::thread, RowTeam::block}) {
    with_channel_reader(shape, team, [&]<class Reader>(const ChannelGrid& grid) {
      most = std::max(most, std::size_t(shape.channels) * grid.slices * std::size_t(values) * sizeof(double));
    });
  }
  return most;
}

}  // namespace espalier::kernels
