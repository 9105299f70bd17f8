// dx = w' * dy. By tiles: an implicit GEMM with rows = channels and columns = the input pixels of one phase of the
// stride, so that no tap between two outputs is multiplied: flops() in all, whatever the stride. By panels (CPU): the
// gradients of the patches of a block of pixels, w' * dy, scattered into dx while both are in the cache; a block owns
// its images and channels, so nothing is added atomically. Panels and the stencil take the sum of the weight gradient's
// parts along (conv2d_weight_parts.h).
#include <cstring>
#include <numeric>

#include "kernels/conv2d.h"
#include "kernels/conv2d_point.h"
#include "kernels/conv2d_pool_panels.h"
#include "kernels/conv2d_tiles.h"
#include "kernels/conv2d_winograd.h"
#include "kernels/warp.h"

namespace espalier::kernels {
namespace {

// ---- tiles

// A [m, k] = w transposed: row = channel of the group, k = (filter, tap row, tap column) over the taps of a phase.
struct TapWeights {
  const float* w = nullptr;
  index_t group = 0;        // floats from group to group
  int patch = 0, taps = 0;  // floats from filter to filter, from channel to channel
  int channels = 0;         // of a group: the product's m
  int phases = 1;           // per axis
  GradientTaps gradient = {};
};

// The taps of a phase, along both axes.
struct PhaseTaps {
  AxisPhase rows, columns;

  __device__ PhaseTaps(const TapWeights& p, index_t batch) {
    const int phase = int(batch % (p.phases * p.phases));
    rows = AxisPhase(p.gradient, phase / p.phases, p.gradient.kernel_height);
    columns = AxisPhase(p.gradient, phase % p.phases, p.gradient.kernel_width);
  }
  __device__ int count() const { return rows.taps * columns.taps; }
};

template <class Tile>
class TapWeightLoader {
  using Stage = DeepStage<Tile, Tile::kM>;

 public:
  using Parameters = TapWeights;
  static constexpr Strides kStrides = Stage::kStrides;

  __device__ TapWeightLoader(const TapWeights& p, index_t first, index_t batch)
      : p_(p), taps_(p, batch), step_(Tile::kK, rows(), columns()), k_{{0, 1, 1}, {0, 1, 1}} {
    base_ = p.w + batch / (p.phases * p.phases) * p.group + taps_.rows.first_tap * p.gradient.kernel_width +
            taps_.columns.first_tap;
#pragma unroll
    for (int pass = 0; pass < Stage::kRowPasses; ++pass) {
      const index_t channel = first + stage_.row + pass * Stage::kRowsAtOnce;
      offset_[pass] = int(detail::clamp_index(channel, p.channels - 1)) * p.taps;
    }
  }

  __device__ void start(index_t k) {
#pragma unroll
    for (int step = 0; step < Stage::kDepthPasses; ++step) {
      k_[step] = Odometer(k + stage_.k + step * 8, rows(), columns());
    }
  }

  template <class Depth>
  __device__ void fetch(index_t, Depth depth) {
#pragma unroll
    for (int step = 0; step < Stage::kDepthPasses; ++step) {
      const Odometer& k = k_[step];  // filter, tap row, tap column
      const float* from =
          base_ + index_t(k.high) * p_.patch + p_.gradient.period * (k.middle * p_.gradient.kernel_width + k.low);
      if (inside(stage_.k + step * 8, depth)) {
#pragma unroll
        for (int pass = 0; pass < Stage::kRowPasses; ++pass) {
          stage_.value[pass][step] = from[offset_[pass]];
        }
      }
      k_[step].add(step_);
    }
  }

  template <class Depth>
  __device__ void commit(float* tile, Depth) {
    stage_.commit(tile);
  }

 private:
  // At least one: a phase without taps sums nothing.
  __device__ int rows() const { return taps_.rows.taps > 0 ? taps_.rows.taps : 1; }
  __device__ int columns() const { return taps_.columns.taps > 0 ? taps_.columns.taps : 1; }

  const TapWeights& p_;
  PhaseTaps taps_;
  Stage stage_;
  Odometer step_, k_[Stage::kDepthPasses];
  const float* base_;
  int offset_[Stage::kRowPasses];
};

// dx at the inputs of a phase.
struct InputGradientStore {
  float* dx;
  int channels, all_channels, height, width;  // channels: of a group
  int phases, pixel_rows, pixel_columns;
  index_t pixels;
  bool aligned;  // planes begin at multiples of 16 bytes

  struct Four {
    index_t group;
    PixelRun run;
  };
  __device__ Four across(index_t batch, index_t column) const {
    Four four{batch / (phases * phases), PixelRun(column, pixels, index_t(height) * width, all_channels)};
    if (phases > 1) place_cells(int(batch - four.group * phases * phases), column, four.run);
    return four;
  }
  __device__ void operator()(const Four& four, index_t row, const float (&values)[4]) const {
    float* plane = dx + (four.group * channels + row) * height * width;
    if (phases == 1) {
      if (row < channels) four.run.store(plane, aligned, values);
      return;
    }
    const int lane = int(threadIdx.x) % 8;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float value = exchanged(values, 8 * i + lane);
      if (row < channels && four.run.offset[i] >= 0) plane[four.run.offset[i]] = value;
    }
  }

 private:
  // Eight neighbouring lanes have 32 neighbouring pixels (ThreadTile), which they exchange: eight of them at a time,
  // not every fourth, lie in as few sectors as there are.
  __device__ void place_cells(int phase, index_t column, PixelRun& run) const {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const index_t pixel = column + 8 * i - 3 * (int(threadIdx.x) % 8);
      const index_t line = divide(pixel, pixel_columns), n = divide(line, pixel_rows);
      const index_t y = (line - n * pixel_rows) * phases + phase / phases;
      const index_t x = (pixel - line * pixel_columns) * phases + phase % phases;
      const bool exists = pixel < pixels && y < height && x < width;
      run.offset[i] = exists ? (n * all_channels * height + y) * width + x : -1;
    }
  }

  // The i-th of the values that eight lanes have, four each.
  __device__ static float exchanged(const float (&values)[4], int i) {
    float value = 0.0f;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const float theirs = __shfl_sync(kFullWarp, values[j], i / 4, 8);
      value = i % 4 == j ? theirs : value;
    }
    return value;
  }
};

// The product of each phase is as deep as it has taps.
template <class Tile, class LoaderB>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kBlocks)
    phase_product_kernel(ProductGrid grid, TapWeights weights, GatherParameters gather, InputGradientStore store) {
  using LoaderA = TapWeightLoader<Tile>;
  BlockRange range = block_range<Tile>(grid);
  const PhaseTaps taps(weights, range.batch);
  range.k_end = grid.shape.k * taps.count();
  multiply_and_store<Tile, LoaderA, LoaderB>(grid.shape, range, range.batch, weights, gather, store);
}

template <bool kPooled>
void backward_input_by_tiles(const Conv2dShape& s, const float* dy, const PooledGradient& pooled, const float* w,
                             float* dx, cudaStream_t stream) {
  const int stride = int(s.stride), period = stride / std::gcd(stride, int(s.dilation));
  const GradientTaps taps{.kernel_height = int(s.kernel_height),
                          .kernel_width = int(s.kernel_width),
                          .stride = stride,
                          .padding = int(s.padding),
                          .dilation = int(s.dilation),
                          .period = period};
  const int pixel_rows = int(ceil_div(s.height, s.stride)), pixel_columns = int(ceil_div(s.width, s.stride));
  const index_t pixels = s.batch * pixel_rows * pixel_columns;
  const TapWeights weights{.w = w,
                           .group = s.filters_per_group() * s.patch(),
                           .patch = int(s.patch()),
                           .taps = taps.kernel_height * taps.kernel_width,
                           .channels = int(s.channels_per_group()),
                           .phases = stride,
                           .gradient = taps};
  const int step = -period * taps.dilation / stride;
  const GatherParameters gather{.source = dy,
                                .height = int(s.out_height()),
                                .width = int(s.out_width()),
                                .image = s.filters * s.out_height() * s.out_width(),
                                .group = s.filters_per_group() * s.out_height() * s.out_width(),
                                .row_step = step,
                                .column_step = step,
                                .pixel_rows = pixel_rows,
                                .pixel_columns = pixel_columns,
                                .pixels = pixels,
                                .phases = stride,
                                .gradient = taps,
                                .pooled = pooled,
                                .image_planes = s.filters,
                                .group_planes = s.filters_per_group()};
  const InputGradientStore store{.dx = dx,
                                 .channels = int(s.channels_per_group()),
                                 .all_channels = int(s.channels),
                                 .height = int(s.height),
                                 .width = int(s.width),
                                 .phases = stride,
                                 .pixel_rows = pixel_rows,
                                 .pixel_columns = pixel_columns,
                                 .pixels = pixels,
                                 .aligned = rows_aligned(dx, s.height * s.width)};
  const ProductShape product{.m = s.channels_per_group(),
                             .n = pixels,
                             .k = s.filters_per_group(),  // times the taps of a phase
                             .batch = s.groups * stride * stride};
  with_conv2d_tile(product, [&](auto tile) {
    using Tile = decltype(tile);
    using Gather = GatherLoader<Tile, kPooled>;
    const ProductGrid grid = product_grid<Tile>(product, 0);
    const auto where = std::source_location::current();
    simt::launch(phase_product_kernel<Tile, Gather>,
                 product_launch<Tile, TapWeightLoader<Tile>, Gather>(grid, stream, where), grid, weights, gather,
                 store);
  });
}

// ---- panels

// Floats of dy and of panel in the cache. With few filters a patch's panel is all the work there is: many pixels of it.
constexpr int kGradientFloats = 24 * 1024, kPanelFloats = 8 * 1024, kMostPixels = 128, kLeastPixels = 32;
constexpr int kFewFilters = 8;

template <int kLanes, class Gradient>
__global__ void conv2d_backward_input_panel_kernel(PanelCut cut, Gradient dy, const float* w, float* dx,
                                                   JoinedSum sum) {
  if (sum.takes_block(cut.blocks.along_batch() * cut.channel_pieces())) return;
  const int group = int(blockIdx.y);
  const int first_channel = int(blockIdx.x % unsigned(cut.channel_pieces())) * cut.channel_piece;
  const index_t first_block = index_t(blockIdx.x / unsigned(cut.channel_pieces())) * cut.blocks.per_image_group();
  const int channels = std::min(cut.channel_piece, cut.channels - first_channel), taps = cut.patch / cut.channels;
  const int first_entry = first_channel * taps, end_entry = first_entry + channels * taps;
  float* gradient = simt::dynamic_shared<float>();                  // [filter_piece, pitch]
  float* panel = gradient + index_t(cut.filter_piece) * cut.pitch;  // [entry_piece, pitch]

  const PixelBlock images = cut.blocks[first_block];
  dx += cut.x_offset(images, group);
  const std::size_t bytes = std::size_t(channels) * std::size_t(cut.geometry.x_plane()) * sizeof(float);
  for (int i = 0; i < images.images; ++i) {
    std::memset(dx + i * cut.geometry.x_image + first_channel * cut.geometry.x_plane(), 0, bytes);
  }
  simt::PanelProduct product{
      .a_row = 1, .a_depth = cut.patch, .b = gradient, .b_pitch = cut.pitch, .c = panel, .c_pitch = cut.pitch};
  for (index_t i = 0; i < cut.blocks.per_image_group(); ++i) {
    const PixelBlock block = cut.blocks[first_block + i];
    product.columns = block.pixels();
    for (int filter = 0; filter < cut.filters; filter += cut.filter_piece) {
      product.depth = std::min(cut.filter_piece, cut.filters - filter);
      dy.template load<kLanes>(cut, block, group, filter, product.depth, gradient);
      for (int entry = first_entry; entry < end_entry; entry += cut.entry_piece) {
        product.rows = std::min(cut.entry_piece, end_entry - entry);
        product.a = w + (index_t(group) * cut.filters + filter) * cut.patch + entry;
        simt::panel_product(product);
        scatter_patches(cut.geometry, block, entry, product.rows, panel, cut.pitch, dx);
      }
    }
  }
}

template <bool kOnCpu, class Gradient>
void backward_input_by_panels(const Conv2dShape& shape, const Gradient& dy, const float* w, float* dx,
                              const JoinedSum& sum, cudaStream_t stream) {
  if constexpr (kOnCpu) {
    PanelCut cut(shape);
    const int taps = cut.patch / cut.channels, most = cut.filters > kFewFilters ? kMostPixels : kPanelFloats / taps;
    cut.blocks = Gradient::cut(shape, std::max(std::min(kGradientFloats / cut.filters, most), kLeastPixels));
    cut.pitch = simt::whole_lanes(cut.blocks.pixels());
    cut.filter_piece = even_piece(cut.filters, kGradientFloats / cut.pitch);
    const index_t wanted_pieces = ceil_div(kWantedPanelBlocks, cut.blocks.along_batch() * shape.groups);
    cut.channel_piece = even_piece(cut.channels, cut.channels / wanted_pieces);
    cut.entry_piece = even_piece(cut.channel_piece * taps, kPanelFloats / cut.pitch);
    const simt::Launch launch = panel_launch(cut.blocks.along_batch() * cut.channel_pieces(), shape.groups,
                                             index_t(cut.entry_piece + cut.filter_piece) * cut.pitch, stream);
    simt::launch(conv2d_backward_input_panel_kernel<simt::kLanes, Gradient>, sum.join(launch), cut, dy, w, dx, sum);
  }
}

}  // namespace

void conv2d_backward_input(const Conv2dShape& shape, const float* dy, const float* w, float* dx, cudaStream_t stream,
                           Conv2dMethod method, Workspace workspace) {
  require_valid(shape, "conv2d_backward_input");
  conv2d_backward_input_and_sum(shape, dy, w, dx, {}, workspace, stream, method);
}

index_t conv2d_backward_input_workspace(const Conv2dShape& shape, Conv2dMethod method) {
  require_valid(shape, "conv2d_backward_input_workspace");
  return winograd_workspace(shape, WinogradUse::input_gradient, method);
}

void conv2d_backward_input_and_sum(const Conv2dShape& shape, const float* dy, const float* w, float* dx,
                                   const WeightParts& parts, Workspace workspace, cudaStream_t stream,
                                   Conv2dMethod method) {
  if (runs_winograd(shape, WinogradUse::input_gradient, method, workspace)) {
    sum_weight_parts(parts, stream);
    return conv2d_winograd({shape, WinogradUse::input_gradient}, dy, w, nullptr, dx, 1.0f, workspace, stream);
  }
  switch (resolve(method, shape, StencilUse::input_gradient)) {
    case Conv2dMethod::panels:
      return backward_input_by_panels<simt::kEmulated>(shape, StoredPanels{dy}, w, dx, {parts}, stream);
    case Conv2dMethod::direct:
      sum_weight_parts(parts, stream);
      return conv2d_backward_input_direct(shape, dy, w, dx, stream);
    case Conv2dMethod::stencil:
      return conv2d_backward_input_stencil(shape, dy, w, dx, parts, stream);
    default:
      sum_weight_parts(parts, stream);  // of a stride of 2 they may be a stencil's
      if (suits_point(shape)) return conv2d_backward_input_point(shape, dy, w, dx, stream);
      return backward_input_by_tiles<false>(shape, dy, {}, w, dx, stream);
  }
}

void conv2d_pool_backward_input(const Conv2dShape& shape, const float* y, const float* dy, const std::uint8_t* route,
                                const float* w, float* dx, Activation activation, float leaky_slope,
                                cudaStream_t stream, Conv2dMethod method) {
  require_valid_pool(shape, route, activation, leaky_slope, "conv2d_pool_backward_input");
  const PooledGradient gradient(shape, y, dy, route, activation, leaky_slope);
  conv2d_pool_backward_input_and_sum(shape, gradient, w, dx, {}, stream, method);
}

void conv2d_pool_backward_input_and_sum(const Conv2dShape& shape, const PooledGradient& dy, const float* w, float* dx,
                                        const WeightParts& parts, cudaStream_t stream, Conv2dMethod method) {
  switch (resolve(method, shape, StencilUse::input_gradient)) {
    case Conv2dMethod::panels:
      return backward_input_by_panels<simt::kEmulated>(shape, PooledPanels{dy, shape.filters}, w, dx, {parts}, stream);
    case Conv2dMethod::stencil:
      return conv2d_pool_backward_input_stencil(shape, dy, w, dx, parts, stream);
    default:
      return backward_input_by_tiles<true>(shape, nullptr, dy, w, dx, stream);
  }
}

}  // namespace espalier::kernels
