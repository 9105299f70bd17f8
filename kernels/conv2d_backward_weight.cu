// dw = dy * patches of x, transposed, and the bias gradient as one more column. The result is small and the sum long
// (batch * pixels), so it is split over blocks: tiles split the depth, panels (CPU) the images; then the parts are
// added in ascending order (conv2d_weight_parts.h). Costs flops(), and splits * (dw + db) floats written and read.
#include <cstring>

#include "kernels/conv2d.h"
#include "kernels/conv2d_pool_panels.h"
#include "kernels/conv2d_weight_tiles.h"

namespace espalier::kernels {
namespace {

// The bias is the weight of one more patch entry that is 1 everywhere: its gradient is one more column of the product.
struct WeightGradientStore {
  float *dw, *db;
  index_t filters, patch;  // filters: of a group
  bool aligned;            // rows of dw begin at multiples of 16 bytes

  template <int kCount>
  __device__ void operator()(index_t group, index_t row, index_t column, const float (&values)[kCount]) const {
    if (row >= filters) return;
    const index_t filter = group * filters + row, left = patch - column;
    if (left > 0) store_run(dw + filter * patch + column, left, aligned, values);
    if (db == nullptr || left < 0) return;
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      if (i == left) db[filter] = values[i];
    }
  }
};

WeightGradientStore weight_store(const Conv2dShape& s, float* dw, float* db) {
  return {dw, db, s.filters_per_group(), s.patch(), rows_aligned(dw, s.patch())};
}

index_t weight_columns(const Conv2dShape& shape, bool with_bias) { return shape.patch() + (with_bias ? 1 : 0); }

// ---- tiles

// Rows of sums are whole vectors: with a column for the bias alone, each lane would store its four floats one by one.
ProductShape weight_product(const Conv2dShape& s, bool with_bias) {
  return {.m = s.filters_per_group(),
          .n = ceil_div<index_t>(weight_columns(s, with_bias), 4) * 4,
          .k = s.batch * s.out_height() * s.out_width(),
          .batch = s.groups};
}

template <bool kPooled>
void backward_weight_by_tiles(const Conv2dShape& s, const float* x, const float* dy, const PooledGradient& pooled,
                              const WeightGradientStore& store, Workspace workspace, cudaStream_t stream) {
  const int rows = int(s.out_height()), columns = int(s.out_width());
  const index_t plane = index_t(rows) * columns;
  const Pixels gradient{.data = dy,
                        .pooled = pooled,
                        .image_planes = s.filters,
                        .image = s.filters * plane,
                        .group = s.filters_per_group() * plane,
                        .rows = rows,
                        .columns = columns,
                        .width_of_tile = int(s.filters_per_group())};
  const PatchColumns patches{.x = {.data = x,
                                   .image = s.channels * s.height * s.width,
                                   .group = s.channels_per_group() * s.height * s.width,
                                   .rows = rows,
                                   .columns = columns},
                             .height = int(s.height),
                             .width = int(s.width),
                             .stride = int(s.stride),
                             .padding = int(s.padding),
                             .dilation = int(s.dilation),
                             .patch = int(s.patch()),
                             .kernel_height = int(s.kernel_height),
                             .kernel_width = int(s.kernel_width)};
  const ProductShape product = weight_product(s, store.db != nullptr);
  with_conv2d_tile(product, [&](auto tile) {
    using Tile = decltype(tile);
    tiled_product<Tile, OutputGradientLoader<Tile, kPooled>, PatchColumnLoader<Tile>>(product, gradient, patches, store,
                                                                                      workspace, stream);
  });
}

index_t tiles_workspace(const Conv2dShape& s) {
  index_t floats = 0;
  const ProductShape product = weight_product(s, true);
  with_conv2d_tile(product, [&](auto tile) { floats = product_workspace_floats<decltype(tile)>(product); });
  return floats;
}

// ---- panels

// Floats of panel and of dy in the cache.
constexpr int kPanelFloats = 24 * 1024, kGradientFloats = 12 * 1024, kMostFilters = 64, kMostEntries = 256;

// How the images are shared: split s takes `image_groups` of the groups of images that PixelBlocks makes.
struct ImageSplits {
  index_t splits, image_groups;
};

// Where split s puts its sums: dw + s * step; db likewise, or null.
struct PartialWeights {
  float *dw, *db;
  index_t step;
};

template <int kLanes, class Gradient>
__global__ void conv2d_backward_weight_panel_kernel(PanelCut cut, ImageSplits split, const float* x, Gradient dy,
                                                    PartialWeights to) {
  const int pieces = cut.filter_pieces() * cut.entry_pieces(), piece = int(blockIdx.x % unsigned(pieces));
  const index_t part = blockIdx.x / unsigned(pieces);
  const int group = int(blockIdx.y), first_filter = piece % cut.filter_pieces() * cut.filter_piece;
  const int filters = std::min(cut.filter_piece, cut.filters - first_filter);
  const int first_entry = piece / cut.filter_pieces() * cut.entry_piece;
  const int entries = std::min(cut.entry_piece, cut.patch - first_entry);
  const bool with_bias = to.db != nullptr && first_entry + entries == cut.patch;
  const int sum_pitch = simt::whole_lanes(cut.filter_piece), rows = entries + (with_bias ? 1 : 0);

  float* panel = simt::dynamic_shared<float>();                        // [entry_piece + 1, pitch]
  float* gradient = panel + index_t(cut.entry_piece + 1) * cut.pitch;  // [pixels, sum_pitch]
  float* sums = gradient + index_t(cut.blocks.pixels()) * sum_pitch;   // [entry_piece + 1, sum_pitch]
  float* scratch = sums + index_t(cut.entry_piece + 1) * sum_pitch;    // [filter_piece, pitch] if pooled
  if (cut.filters > kDotFilters && filters < sum_pitch) {
    std::memset(gradient, 0, std::size_t(cut.blocks.pixels()) * std::size_t(sum_pitch) * sizeof(float));
  }
  std::memset(sums, 0, std::size_t(rows) * std::size_t(sum_pitch) * sizeof(float));
  std::fill(panel + index_t(entries) * cut.pitch, panel + index_t(entries + 1) * cut.pitch, 1.0f);  // met by the bias
  simt::PanelProduct product{.rows = rows,
                             .columns = filters,
                             .a = panel,
                             .a_row = cut.pitch,
                             .a_depth = 1,
                             .b = gradient,
                             .b_pitch = sum_pitch,
                             .c = sums,
                             .c_pitch = sum_pitch,
                             .accumulate = true};
  const index_t per_group = cut.blocks.per_image_group(), first = part * split.image_groups * per_group;
  const index_t end = std::min(first + split.image_groups * per_group, cut.blocks.count());
  for (index_t i = first; i < end; ++i) {
    const PixelBlock block = cut.blocks[i];
    product.depth = block.pixels();
    gather_patches(cut.geometry, block, first_entry, entries, x + cut.x_offset(block, group), panel, cut.pitch,
                   block.pixels());
    if (cut.filters > kDotFilters) {
      dy.template load_transposed<kLanes>(cut, block, group, first_filter, filters, scratch, gradient, sum_pitch);
      simt::panel_product(product);
    } else {
      dy.template load<kLanes>(cut, block, group, first_filter, filters, gradient);
      add_dot_products(product, cut.pitch);
    }
  }
  const index_t filter = index_t(group) * cut.filters + first_filter;
  simt::transpose(sums, sum_pitch, entries, filters, to.dw + part * to.step + filter * cut.patch + first_entry,
                  cut.patch);
  if (with_bias) {
    std::copy_n(sums + index_t(entries) * sum_pitch, filters, to.db + part * to.step + filter);
  }
}

template <class Gradient>
PanelCut weight_cut(const Conv2dShape& shape) {
  PanelCut cut(shape);
  cut.filter_piece = even_piece(cut.filters, kMostFilters);
  cut.entry_piece = even_piece(cut.patch, kMostEntries);
  const int pixels = std::min(kPanelFloats / cut.entry_piece, kGradientFloats / simt::whole_lanes(cut.filter_piece));
  cut.blocks = Gradient::cut(shape, pixels);
  cut.pitch = simt::whole_lanes(cut.blocks.pixels());
  return cut;
}

ImageSplits image_splits(const PanelCut& cut, index_t groups, index_t most) {
  const index_t pieces = index_t(cut.filter_pieces()) * cut.entry_pieces() * groups;
  const index_t wanted = std::min({ceil_div(kWantedPanelBlocks, pieces), most, cut.blocks.along_batch()});
  const index_t image_groups = ceil_div(cut.blocks.along_batch(), std::max<index_t>(wanted, 1));
  return {ceil_div(cut.blocks.along_batch(), image_groups), image_groups};
}

template <class Gradient>
index_t panels_workspace(const Conv2dShape& shape) {
  const index_t splits = image_splits(weight_cut<Gradient>(shape), shape.groups, INT64_MAX).splits;
  return splits == 1 ? 0 : splits * shape.filters * weight_columns(shape, true);
}

template <bool kOnCpu, class Gradient>
WeightParts backward_weight_by_panels(const Conv2dShape& shape, const float* x, const Gradient& dy, float* dw,
                                      float* db, Workspace workspace, cudaStream_t stream) {
  if constexpr (kOnCpu) {
    const PanelCut cut = weight_cut<Gradient>(shape);
    const index_t weights = shape.weight_size(), size = weights + (db == nullptr ? 0 : shape.filters);
    const ImageSplits split = image_splits(cut, shape.groups, workspace.floats / size);
    const PartialWeights direct{dw, db, 0};
    const PartialWeights partial{workspace.data, db == nullptr ? nullptr : workspace.data + weights, size};
    const index_t floats = index_t(cut.entry_piece + 1 + (Gradient::kPooled ? cut.filter_piece : 0)) * cut.pitch +
                           index_t(cut.blocks.pixels() + cut.entry_piece + 1) * simt::whole_lanes(cut.filter_piece);
    simt::launch(conv2d_backward_weight_panel_kernel<simt::kLanes, Gradient>,
                 panel_launch(split.splits * cut.filter_pieces() * cut.entry_pieces(), shape.groups, floats, stream),
                 cut, split, x, dy, split.splits == 1 ? direct : partial);
    return {.partial = workspace.data,
            .dw = dw,
            .db = db,
            .weights = weights,
            .size = size,
            .parts = split.splits,
            .step = size,
            .by_panels = true};
  }
  return {};
}

}  // namespace

WeightParts conv2d_backward_weight_parts(const Conv2dShape& shape, const float* x, const float* dy, float* dw,
                                         float* db, Workspace workspace, cudaStream_t stream, Conv2dMethod method) {
  if (workspace.data == nullptr) workspace.floats = 0;
  switch (resolve(method, shape, StencilUse::weight_gradient)) {
    case Conv2dMethod::panels:
      return backward_weight_by_panels<simt::kEmulated>(shape, x, StoredPanels{dy}, dw, db, workspace, stream);
    case Conv2dMethod::direct:
      conv2d_backward_weight_direct(shape, x, dy, dw, db, stream);
      return {};
    case Conv2dMethod::stencil:
      return conv2d_backward_weight_stencil(shape, x, dy, dw, db, workspace, stream);
    default:
      backward_weight_by_tiles<false>(shape, x, dy, {}, weight_store(shape, dw, db), workspace, stream);
      return {};
  }
}

void conv2d_backward_weight(const Conv2dShape& shape, const float* x, const float* dy, float* dw, float* db,
                            Workspace workspace, cudaStream_t stream, Conv2dMethod method) {
  require_valid(shape, "conv2d_backward_weight");
  sum_weight_parts(conv2d_backward_weight_parts(shape, x, dy, dw, db, workspace, stream, method), stream);
}

index_t conv2d_backward_weight_workspace(const Conv2dShape& shape, Conv2dMethod method) {
  require_valid(shape, "conv2d_backward_weight_workspace");
  switch (resolve(method, shape, StencilUse::weight_gradient)) {
    case Conv2dMethod::panels:
      return panels_workspace<StoredPanels>(shape);
    case Conv2dMethod::direct:
      return 0;
    case Conv2dMethod::stencil:
      return conv2d_backward_weight_stencil_workspace(shape);
    default:
      return tiles_workspace(shape);
  }
}

WeightParts conv2d_pool_backward_weight_parts(const Conv2dShape& shape, const float* x, const PooledGradient& dy,
                                              float* dw, float* db, Workspace workspace, cudaStream_t stream,
                                              Conv2dMethod method) {
  if (workspace.data == nullptr) workspace.floats = 0;
  switch (resolve(method, shape, StencilUse::pooled_weight_gradient)) {
    case Conv2dMethod::panels:
      return backward_weight_by_panels<simt::kEmulated>(shape, x, PooledPanels{dy, shape.filters}, dw, db, workspace,
                                                        stream);
    case Conv2dMethod::stencil:
      return conv2d_pool_backward_weight_stencil(shape, x, dy, dw, db, workspace, stream);
    default:
      backward_weight_by_tiles<true>(shape, x, nullptr, dy, weight_store(shape, dw, db), workspace, stream);
      return {};
  }
}

void conv2d_pool_backward_weight(const Conv2dShape& shape, const float* x, const float* y, const float* dy,
                                 const std::uint8_t* route, float* dw, float* db, Activation activation,
                                 float leaky_slope, Workspace workspace, cudaStream_t stream, Conv2dMethod method) {
  require_valid_pool(shape, route, activation, leaky_slope, "conv2d_pool_backward_weight");
  const PooledGradient gradient(shape, y, dy, route, activation, leaky_slope);
  sum_weight_parts(conv2d_pool_backward_weight_parts(shape, x, gradient, dw, db, workspace, stream, method), stream);
}

index_t conv2d_pool_backward_weight_workspace(const Conv2dShape& shape, Conv2dMethod method) {
  require_valid(shape, "conv2d_pool_backward_weight_workspace");
  switch (resolve(method, shape, StencilUse::pooled_weight_gradient)) {
    case Conv2dMethod::panels:
      return panels_workspace<PooledPanels>(shape);
    case Conv2dMethod::stencil:
      return conv2d_backward_weight_stencil_workspace(shape);
    default:
      return tiles_workspace(shape);
  }
}

}  // namespace espalier::kernels
