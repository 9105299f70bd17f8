// y = activation(w * patches of x + bias). By tiles: an implicit GEMM with rows = filters and columns = pixels, its B
// gathered through a table of offsets. By panels (CPU): the patches of a block of pixels are gathered into the cache
// and multiplied by all filters. Reads x once per tile of filters from the L2 cache, w once per tile of pixels, writes
// y once.
#include "kernels/conv2d.h"
#include "kernels/conv2d_panels.h"
#include "kernels/conv2d_tiles.h"
#include "kernels/tiled_product.h"

namespace espalier::kernels {
namespace {

// ---- tiles

// y [images, filters, pixels] from rows = filters and columns = pixels of all images, with bias and a straight
// activation (gelu, sigmoid and tanh would cost the product registers that it does not have: they are a second pass).
struct ForwardStore {
  float* y;
  const float* bias;
  index_t filters, all_filters, plane, pixels;  // filters: of a group
  float slope;                                  // of the activation below zero; 1: none
  bool aligned;                                 // planes begin at multiples of 16 bytes

  template <int kCount>
  __device__ void operator()(index_t group, index_t row, index_t column, const float (&sums)[kCount]) const {
    if (row >= filters || column >= pixels) return;
    const index_t filter = group * filters + row, image = divide(column, plane), pixel = column - image * plane;
    const float shift = bias == nullptr ? 0.0f : bias[filter];
    float values[kCount];
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const float value = sums[i] + shift, bent = slope == 0.0f ? 0.0f : slope * value;  // not 0 * -inf
      values[i] = value <= 0.0f ? bent : value;
    }
    float* to = y + (image * all_filters + filter) * plane + pixel;
    if (pixel + kCount <= plane) return store_run(to, kCount, aligned, values);
    for (int i = 0; i < kCount && column + i < pixels; ++i) {
      const index_t next = divide(pixel + i, plane);  // the run crosses into the next image, or several small ones
      to[next * (all_filters - 1) * plane + i] = values[i];
    }
  }
};

template <class Tile>
void forward_with_tile(const ProductShape& product, const MatrixView& w, const GatherParameters& x,
                       const ForwardStore& store, cudaStream_t stream) {
  tiled_product<Tile, DeepLoader<Tile, Side::a, 1>, GatherLoader<Tile>>(product, w, x, store, {}, stream);
}

void forward_by_tiles(const Conv2dShape& s, const float* x, const float* w, const float* bias, float* y,
                      Activation activation, float leaky_slope, cudaStream_t stream) {
  const index_t plane = s.out_height() * s.out_width();
  const bool bent = activation == Activation::relu || activation == Activation::leaky_relu;
  const ForwardStore store{.y = y,
                           .bias = bias,
                           .filters = s.filters_per_group(),
                           .all_filters = s.filters,
                           .plane = plane,
                           .pixels = s.batch * plane,
                           .slope = !bent                            ? 1.0f
                                    : activation == Activation::relu ? 0.0f
                                                                     : leaky_slope,
                           .aligned = rows_aligned(y, plane)};
  const GatherParameters gather{.source = x,
                                .height = int(s.height),
                                .width = int(s.width),
                                .image = s.channels * s.height * s.width,
                                .group = s.channels_per_group() * s.height * s.width,
                                .tap_rows = int(s.kernel_height),
                                .tap_columns = int(s.kernel_width),
                                .row_step = int(s.dilation),
                                .column_step = int(s.dilation),
                                .pixel_rows = int(s.out_height()),
                                .pixel_columns = int(s.out_width()),
                                .pixels = s.batch * plane,
                                .scale = int(s.stride),
                                .shift = -int(s.padding)};
  const MatrixView weights{w, s.patch(), s.filters_per_group(), s.filters_per_group() * s.patch()};
  const ProductShape product{.m = s.filters_per_group(), .n = s.batch * plane, .k = s.patch(), .batch = s.groups};
  with_conv2d_tile(product,
                   [&](auto tile) { forward_with_tile<decltype(tile)>(product, weights, gather, store, stream); });
  if (!bent && activation != Activation::none) {
    activation_forward(s.output_size(), activation, leaky_slope, y, y, stream);
  }
}

// ---- panels

// Floats of panel and of sums in the cache. On a Zen 5 core (48 KiB + 1 MiB) the conv layers of lenet-5 and seed-cnn
// take, one thread, batch 128: 0.55, 1.81, 0.60 and 2.76 ms; with half of both 0.61, 1.89, 0.57 and 2.77 ms.
constexpr int kPanelFloats = 32 * 1024, kSumFloats = 16 * 1024, kMostFilters = 128, kLeastPixels = 128;

template <int kLanes>
__global__ void conv2d_forward_panel_kernel(PanelCut cut, const float* x, const float* w, const float* bias, float* y,
                                            Activation activation, float leaky_slope) {
  const int group = int(blockIdx.y), first_filter = int(blockIdx.x % unsigned(cut.filter_pieces())) * cut.filter_piece;
  const PixelBlock block = cut.blocks[blockIdx.x / unsigned(cut.filter_pieces())];
  const int filters = std::min(cut.filter_piece, cut.filters - first_filter);
  const int filter = group * cut.filters + first_filter;
  float* panel = simt::dynamic_shared<float>();                // [entry_piece, pitch]
  float* sums = panel + index_t(cut.entry_piece) * cut.pitch;  // [filters, pitch]
  simt::PanelProduct product{.rows = filters,
                             .columns = block.pixels(),
                             .a_row = cut.patch,
                             .a_depth = 1,
                             .b = panel,
                             .b_pitch = cut.pitch,
                             .c = sums,
                             .c_pitch = cut.pitch};
  for (int first = 0; first < cut.patch; first += cut.entry_piece) {
    product.depth = std::min(cut.entry_piece, cut.patch - first);
    gather_patches(cut.geometry, block, first, product.depth, x + cut.x_offset(block, group), panel, cut.pitch,
                   simt::whole_lanes(block.pixels()));
    product.a = w + index_t(filter) * cut.patch + first;
    product.accumulate = first > 0;
    simt::panel_product(product);
  }
  for (int f = 0; f < filters; ++f) {
    finish_row(activation, leaky_slope, bias == nullptr ? 0.0f : bias[filter + f], block.pixels(),
               sums + index_t(f) * cut.pitch);
  }
  y += cut.y_offset(block, group) + first_filter * cut.geometry.y_plane();
  store_pixels(cut.geometry, block, filters, sums, cut.pitch, y);
}

template <bool kOnCpu>
void forward_by_panels(const Conv2dShape& shape, const float* x, const float* w, const float* bias, float* y,
                       Activation activation, float leaky_slope, cudaStream_t stream) {
  if constexpr (kOnCpu) {
    PanelCut cut(shape);
    cut.filter_piece = even_piece(cut.filters, kMostFilters);
    const index_t work = shape.batch * cut.geometry.y_plane() * cut.filter_pieces() * shape.groups;
    const index_t fair = std::max<index_t>(2 * simt::kLanes, work / kWantedPanelBlocks);
    const index_t cached = std::max(kLeastPixels, kPanelFloats / cut.patch);
    cut.blocks = pixel_blocks(shape, int(std::min({fair, cached, index_t(kSumFloats / cut.filter_piece)})));
    cut.pitch = simt::whole_lanes(cut.blocks.pixels());
    cut.entry_piece = even_piece(cut.patch, kPanelFloats / cut.pitch);
    simt::launch(conv2d_forward_panel_kernel<simt::kLanes>,
                 panel_launch(cut.blocks.count() * cut.filter_pieces(), shape.groups,
                              index_t(cut.entry_piece + cut.filter_piece) * cut.pitch, stream),
                 cut, x, w, bias, y, activation, leaky_slope);
  }
}

}  // namespace

void conv2d_forward(const Conv2dShape& shape, const float* x, const float* w, const float* bias, float* y,
                    Activation activation, cudaStream_t stream, Conv2dMethod method, float leaky_slope) {
  require_valid(shape, "conv2d_forward");
  switch (resolve(method, shape)) {
    case Conv2dMethod::panels:
      return forward_by_panels<simt::kEmulated>(shape, x, w, bias, y, activation, leaky_slope, stream);
    case Conv2dMethod::direct:
      return conv2d_forward_direct(shape, x, w, bias, y, activation, leaky_slope, stream);
    default:
      return forward_by_tiles(shape, x, w, bias, y, activation, leaky_slope, stream);
  }
}

}  // namespace espalier::kernels
