// y = activation(w * patches of x + bias). By tiles: an implicit GEMM with rows = filters and columns = pixels, its B
// gathered through a table of offsets. By panels (CPU): the patches of a block of pixels are gathered into the cache
// and multiplied by all filters. Reads x once per tile of filters from the L2 cache, w once per tile of pixels, writes
// y once. A fused block (conv2d_pool.h) is the same product with its pixels in the order of the pool's windows, so that
// the four of a window meet in one thread, and writes a quarter.
#include <numeric>
#include <type_traits>

#include "kernels/conv2d.h"
#include "kernels/conv2d_gradient.h"
#include "kernels/conv2d_pool_panels.h"
#include "kernels/conv2d_tiles.h"
#include "kernels/conv2d_winograd.h"
#include "kernels/tiled_product.h"
#include "kernels/warp.h"

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

  struct Four {
    index_t group;
    PixelRun run;
  };
  __device__ Four across(index_t group, index_t column) const {
    return {group, PixelRun(column, pixels, plane, all_filters)};
  }
  __device__ void operator()(const Four& four, index_t row, const float (&sums)[4]) const {
    if (row >= filters) return;
    const index_t filter = four.group * filters + row;
    const float shift = bias == nullptr ? 0.0f : bias[filter];
    float values[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float value = sums[i] + shift, bent = slope == 0.0f ? 0.0f : slope * value;  // not 0 * -inf
      values[i] = value <= 0.0f ? bent : value;
    }
    four.run.store(y + filter * plane, aligned, values);
  }
};

// The four columns of a store are a window. Eight neighbouring lanes have neighbouring windows of one row of the tile
// (ThreadTile), so four of them, the first of which is a multiple of four, make a byte of the route.
struct PooledStore {
  float* y;
  std::uint8_t* route;
  const float* bias;
  index_t filters, all_filters, batch;  // filters: of a group
  index_t windows, padded_windows;      // of a plane; padded to whole bytes, as the columns are
  float slope;

  struct Window {
    index_t group, image, window;
  };
  __device__ Window across(index_t group, index_t column) const {
    const index_t image = divide(column / 4, padded_windows);
    return {group, image, column / 4 - image * padded_windows};
  }
  __device__ void operator()(const Window& at, index_t row, const float (&sums)[4]) const {
    const auto [group, image, window] = at;
    float best = sums[0];
    int place = 0;
#pragma unroll
    for (int i = 1; i < 4; ++i) {
      const bool better = wins(sums[i], best);
      best = better ? sums[i] : best, place = better ? i : place;
    }
    const bool exists = row < filters && image < batch && window < windows;
    int places = exists ? place << (window % 4 * 2) : 0;
    places |= __shfl_xor_sync(kFullWarp, places, 1);
    places |= __shfl_xor_sync(kFullWarp, places, 2);
    if (!exists) return;
    const index_t filter = group * filters + row, plane = image * all_filters + filter;
    best += bias == nullptr ? 0.0f : bias[filter];
    y[plane * windows + window] = bend(best, best, slope);
    if (route != nullptr && window % 4 == 0) {
      route[plane * (padded_windows / 4) + window / 4] = std::uint8_t(places);
    }
  }
};

GatherParameters gather_patches_of(const Conv2dShape& s, const float* x) {
  return {.source = x,
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
          .pixels = s.batch * s.out_height() * s.out_width(),
          .scale = int(s.stride),
          .shift = -int(s.padding)};
}

MatrixView weights_of(const Conv2dShape& s, const float* w) {
  return {w, s.patch(), s.filters_per_group(), s.filters_per_group() * s.patch()};
}

ProductShape product_of(const Conv2dShape& s) {
  return {.m = s.filters_per_group(), .n = s.batch * s.out_height() * s.out_width(), .k = s.patch(), .batch = s.groups};
}

void forward_by_tiles(const Conv2dShape& s, const float* x, const float* w, const float* bias, float* y, float slope,
                      Workspace workspace, cudaStream_t stream) {
  const index_t plane = s.out_height() * s.out_width();
  const ForwardStore store{.y = y,
                           .bias = bias,
                           .filters = s.filters_per_group(),
                           .all_filters = s.filters,
                           .plane = plane,
                           .pixels = s.batch * plane,
                           .slope = slope,
                           .aligned = rows_aligned(y, plane)};
  with_conv2d_tile(product_of(s), [&]<class Tile>(Tile) {
    tiled_product<Tile, DeepLoader<Tile, Side::a, 1>, GatherLoader<Tile>>(
        product_of(s), weights_of(s, w), gather_patches_of(s, x), store, workspace, stream);
  });
}

void pool_by_tiles(const Conv2dShape& s, const float* x, const float* w, const float* bias, float* y,
                   std::uint8_t* route, float slope, cudaStream_t stream) {
  const index_t windows = s.out_height() / 2 * (s.out_width() / 2), padded = route_plane_bytes(windows) * 4;
  const PooledStore store{.y = y,
                          .route = route,
                          .bias = bias,
                          .filters = s.filters_per_group(),
                          .all_filters = s.filters,
                          .batch = s.batch,
                          .windows = windows,
                          .padded_windows = padded,
                          .slope = slope};
  GatherParameters gather = gather_patches_of(s, x);
  gather.windows_across = int(s.out_width() / 2);
  gather.windows = int(windows);
  gather.pixels = s.batch * padded * 4;
  const ProductShape product{.m = s.filters_per_group(), .n = gather.pixels, .k = s.patch(), .batch = s.groups};
  with_conv2d_tile(product, [&]<class Tile>(Tile) {
    whole_product<Tile, DeepLoader<Tile, Side::a, 1>, GatherLoader<Tile>>(product, weights_of(s, w), gather, store,
                                                                          stream);
  });
}

// ---- panels

// Floats of panel and of sums in the cache. On a Zen 5 core (48 KiB + 1 MiB) the conv layers of lenet-5 and seed-cnn
// take, one thread, batch 128: 0.55, 1.81, 0.60 and 2.76 ms; with half of both 0.61, 1.89, 0.57 and 2.77 ms.
constexpr int kPanelFloats = 32 * 1024, kSumFloats = 16 * 1024, kMostFilters = 128, kLeastPixels = 128;

// What becomes of the sums [filters, pitch] of a block; `filter` is the first of all.
struct StoreWhole {
  float* y;
  Activation activation;
  float leaky_slope;

  template <int kLanes>
  __device__ void store(const PanelCut& cut, const PixelBlock& block, int group, int first_filter, int filters,
                        const float* bias, float* sums, float*) const {
    for (int f = 0; f < filters; ++f) {
      finish_row(activation, leaky_slope, bias == nullptr ? 0.0f : bias[f], block.pixels(),
                 sums + index_t(f) * cut.pitch);
    }
    store_pixels(cut.geometry, block, filters, sums, cut.pitch,
                 y + cut.y_offset(block, group) + first_filter * cut.geometry.y_plane());
  }
};

struct StorePooled {
  PooledOutput output;
  index_t all_filters;

  template <int kLanes>
  __device__ void store(const PanelCut& cut, const PixelBlock& block, int group, int first_filter, int filters,
                        const float* bias, float* sums, float* scratch) const {
    for (int image = 0; image < block.images; ++image) {
      const index_t plane = (block.image + image) * all_filters + index_t(group) * cut.filters + first_filter;
      for (int f = 0; f < filters; ++f) {
        pool_rows<kLanes>(output, plane + f, block.row, block.rows,
                          sums + index_t(f) * cut.pitch + index_t(image) * block.rows * block.columns,
                          bias == nullptr ? 0.0f : bias[f], reinterpret_cast<std::uint8_t*>(scratch));
      }
    }
  }
};

template <int kLanes, class Finish>
__global__ void conv2d_forward_panel_kernel(PanelCut cut, const float* x, const float* w, const float* bias,
                                            Finish finish) {
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
  finish.template store<kLanes>(cut, block, group, first_filter, filters, bias == nullptr ? nullptr : bias + filter,
                                sums, sums + index_t(cut.filter_piece) * cut.pitch);
}

// Cuts `pixels` into blocks of whole rows of windows, of which each ends with a byte of the route; or into any blocks.
PanelCut forward_cut(const Conv2dShape& shape, const PixelBlocks& pixels, bool pooled) {
  PanelCut cut(shape);
  cut.filter_piece = even_piece(cut.filters, kMostFilters);
  const index_t work = shape.batch * pixels.out_height * pixels.out_width * cut.filter_pieces() * shape.groups;
  const index_t fair = std::max<index_t>(2 * simt::kLanes, work / kWantedPanelBlocks);
  const index_t cached = std::max(kLeastPixels, kPanelFloats / cut.patch);
  const int pixels_of_block = int(std::min({fair, cached, index_t(kSumFloats / cut.filter_piece)}));
  const int row_unit = pooled ? 2 * (4 / std::gcd(4, pixels.out_width / 2)) : 1;
  cut.blocks = pixel_blocks(pixels, pooled ? std::max(pixels_of_block, pixels.out_width) : pixels_of_block, row_unit);
  cut.pitch = simt::whole_lanes(cut.blocks.pixels());
  cut.filter_piece = even_piece(cut.filters, std::min<index_t>(kMostFilters, 2 * kSumFloats / cut.pitch));
  cut.entry_piece = even_piece(cut.patch, kPanelFloats / cut.pitch);
  return cut;
}

template <bool kOnCpu, class Finish>
void forward_by_panels(const Conv2dShape& shape, const float* x, const float* w, const float* bias,
                       const PixelBlocks& pixels, const Finish& finish, cudaStream_t stream) {
  if constexpr (kOnCpu) {
    constexpr bool kPooled = std::is_same_v<Finish, StorePooled>;
    const PanelCut cut = forward_cut(shape, pixels, kPooled);
    const index_t scratch = kPooled ? cut.blocks.pixels() / 16 + 2 : 0;  // a byte for each window, and seven
    simt::launch(conv2d_forward_panel_kernel<simt::kLanes, Finish>,
                 panel_launch(cut.blocks.count() * cut.filter_pieces(), shape.groups,
                              index_t(cut.entry_piece + cut.filter_piece) * cut.pitch + scratch, stream),
                 cut, x, w, bias, finish);
  }
}

}  // namespace

void conv2d_forward(const Conv2dShape& shape, const float* x, const float* w, const float* bias, float* y,
                    Activation activation, cudaStream_t stream, Conv2dMethod method, float leaky_slope,
                    Workspace workspace) {
  require_valid(shape, "conv2d_forward");
  const float slope = slope_below_zero(activation, leaky_slope);
  if (runs_winograd(shape, WinogradUse::forward, method, workspace)) {
    conv2d_winograd({shape, WinogradUse::forward}, x, w, bias, y, slope, workspace, stream);
  } else {
    switch (resolve(method, shape, StencilUse::forward)) {
      case Conv2dMethod::panels:
        return forward_by_panels<simt::kEmulated>(shape, x, w, bias, all_pixels(shape),
                                                  StoreWhole{y, activation, leaky_slope}, stream);
      case Conv2dMethod::direct:
        return conv2d_forward_direct(shape, x, w, bias, y, activation, leaky_slope, stream);
      case Conv2dMethod::stencil:
        conv2d_forward_stencil(shape, x, w, bias, y, slope, stream);
        break;
      default:
        forward_by_tiles(shape, x, w, bias, y, slope, workspace, stream);
    }
  }
  const bool straight =
      activation == Activation::none || activation == Activation::relu || activation == Activation::leaky_relu;
  if (!straight) activation_forward(shape.output_size(), activation, leaky_slope, y, y, stream);
}

index_t conv2d_forward_workspace(const Conv2dShape& shape, Conv2dMethod method) {
  require_valid(shape, "conv2d_forward_workspace");
  index_t floats = winograd_workspace(shape, WinogradUse::forward, method);
  if (floats > 0 || resolve(method, shape, StencilUse::forward) != Conv2dMethod::tiles) return floats;
  with_conv2d_tile(product_of(shape),
                   [&]<class Tile>(Tile) { floats = product_workspace_floats<Tile>(product_of(shape)); });
  return floats;
}

void conv2d_pool_forward(const Conv2dShape& shape, const float* x, const float* w, const float* bias, float* y,
                         std::uint8_t* route, Activation activation, float leaky_slope, cudaStream_t stream,
                         Conv2dMethod method) {
  require_valid_pool(shape, route, activation, leaky_slope, "conv2d_pool_forward");
  const float slope = slope_below_zero(activation, leaky_slope);
  switch (resolve(method, shape, StencilUse::pool)) {
    case Conv2dMethod::panels: {
      const PooledOutput output{y, route, int(shape.out_height() / 2), int(shape.out_width() / 2), slope};
      return forward_by_panels<simt::kEmulated>(shape, x, w, bias, pooled_pixels(shape),
                                                StorePooled{output, shape.filters}, stream);
    }
    case Conv2dMethod::stencil:
      return conv2d_pool_forward_stencil(shape, x, w, bias, y, route, slope, stream);
    default:
      return pool_by_tiles(shape, x, w, bias, y, route, slope, stream);
  }
}

}  // namespace espalier::kernels
