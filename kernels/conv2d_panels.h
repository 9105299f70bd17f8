// Convolution by panels: the CPU's way, one thread to a block, with no barrier and no buffer outside the cache.
// A block gathers the patches of some output pixels into a panel (conv2d_patches.h) and multiplies it by the weights
// where they lie (simt::panel_product). All three directions are that product with the operands in other places:
//   forward          sums [filters, pixels]  = w [filters, patch] * panel [patch, pixels], then bias and activation
//   input gradient   panel [patch, pixels]   = w' [patch, filters] * dy [filters, pixels], scattered into dx: half the
//                                              multiplications of gathering dy around every input of a 12 x 12 map
//   weight gradient  sums [patch, filters]  += panel [patch, pixels] * dy' [pixels, filters], transposed at the end
// The launchers take the backend as an argument: nvcc, whose kernels cannot call these functions, never instantiates
// them.
#pragma once
#include "kernels/activation_math.h"
#include "kernels/conv2d_direct.h"
#include "kernels/conv2d_patches.h"
#include "kernels/conv2d_stencil.h"
#include "kernels/require.h"

namespace espalier::kernels {

// A grid has at least this many blocks, if the work can be cut so far: enough for 8 threads and their uneven pace.
inline constexpr index_t kWantedPanelBlocks = 16;

// What `fastest` means for this build and shape, where the stencil pays or not; and winograd, where it has
// not been taken before (conv2d_winograd.h).
inline Conv2dMethod resolve(Conv2dMethod method, const Conv2dShape& shape, bool stencil) {
  require(method != Conv2dMethod::panels || simt::kEmulated,
          "conv2d: panels run on one CPU thread a block and exist in the cpu build only; use tiles or fastest");
  if (method != Conv2dMethod::fastest && method != Conv2dMethod::winograd) return method;
  if (simt::kEmulated) return Conv2dMethod::panels;
  return suits_direct(shape) ? Conv2dMethod::direct : stencil ? Conv2dMethod::stencil : Conv2dMethod::tiles;
}

inline Conv2dMethod resolve(Conv2dMethod method, const Conv2dShape& shape, StencilUse use) {
  return resolve(method, shape, pays_stencil(shape, use));
}

// `count` cut into pieces of at most `most`, as even as can be: the length of a piece.
inline int even_piece(index_t count, index_t most) {
  return int(ceil_div(count, ceil_div(count, std::max<index_t>(most, 1))));
}

// How one direction of a convolution is cut: what of it a block has in the cache at a time.
struct PanelCut {
  PatchGeometry geometry;
  int channels, filters, patch;  // of a group
  PixelBlocks blocks;
  int filter_piece = 1, channel_piece = 1, entry_piece = 1;  // entry: one of the `patch` weights of a filter
  int pitch = simt::kLanes;                                  // floats from one row of a panel to the next

  explicit PanelCut(const Conv2dShape& s)
      : geometry(s),
        channels(int(s.channels_per_group())),
        filters(int(s.filters_per_group())),
        patch(int(s.patch())) {}

  int filter_pieces() const { return ceil_div(filters, filter_piece); }
  int channel_pieces() const { return ceil_div(channels, channel_piece); }
  int entry_pieces() const { return ceil_div(patch, entry_piece); }
  // Offsets of a group's first plane in the first image of a block.
  index_t x_offset(const PixelBlock& block, int group) const {
    return block.image * geometry.x_image + index_t(group) * channels * geometry.x_plane();
  }
  index_t y_offset(const PixelBlock& block, int group) const {
    return block.image * geometry.y_image + index_t(group) * filters * geometry.y_plane();
  }
};

inline simt::Launch panel_launch(index_t blocks, index_t groups, index_t shared_floats, cudaStream_t stream,
                                 std::source_location where = std::source_location::current()) {
  require(blocks <= kMaxGridX && groups <= kMaxGridYZ, "conv2d: ", blocks, " blocks x ", groups,
          " groups are more than a grid has; split the batch or the groups");
  return {dim3(unsigned(blocks), unsigned(groups)), dim3(1), std::size_t(shared_floats) * sizeof(float), stream, where};
}

// Up to so many filters of a group (depthwise) would leave a vector of filters mostly empty: then each weight's
// gradient is a dot product along the pixels.
inline constexpr int kDotFilters = 4;

// product.c += product.a * b' for b [columns, depth], its rows `pitch` floats apart.
inline void add_dot_products(const simt::PanelProduct& product, int pitch) {
  for (int row = 0; row < product.rows; ++row) {
    for (int column = 0; column < product.columns; ++column) {
      const float* b = product.b + index_t(column) * pitch;
      product.c[row * product.c_pitch + column] += simt::dot(product.a + row * product.a_row, b, product.depth);
    }
  }
}

// values = activation(values + bias)
__device__ inline void finish_row(Activation activation, float leaky_slope, float bias, int count, float* values) {
  const auto finish = [&](auto function) {
    for (int i = 0; i < count; ++i) values[i] = function(values[i] + bias);
  };
  switch (activation) {
    case Activation::none:
      return finish([](float v) { return v; });
    case Activation::relu:
      return finish([](float v) { return activate<Activation::relu>(v); });
    case Activation::leaky_relu:
      return finish([=](float v) { return activate<Activation::leaky_relu>(v, leaky_slope); });
    case Activation::gelu:
      return finish([](float v) { return activate<Activation::gelu>(v); });
    case Activation::sigmoid:
      return finish([](float v) { return activate<Activation::sigmoid>(v); });
    case Activation::tanh:
      return finish([](float v) { return activate<Activation::tanh>(v); });
  }
}

}  // namespace espalier::kernels
