#include "kernels/sparse/network_layout.h"

#include <algorithm>
#include <numeric>

#include "kernels/grid.h"
#include "kernels/require.h"

namespace espalier::kernels {
namespace {

constexpr index_t kSharedFloats =
    64 * 1024 / sizeof(float);                               // what every GPU has, two or three times where it has more
constexpr index_t kTurnStride = NetworkSource::kImages + 1;  // x is written across: no two lanes in one bank

bool is_dense(const FusedProduct& product) { return product.single() && product.shape.padding == 0; }

void require_fit(const FusedProduct& before, const FusedProduct& after, std::size_t index) {
  const bool same = after.shape.channels == before.shape.filters && after.shape.height == before.out_height() &&
                    after.shape.width == before.out_width();
  const index_t wanted = after.shape.channels * after.shape.height * after.shape.width;
  require(same || (is_dense(after) && after.shape.groups == 1 && wanted == before.out_size()),
          "compiled network: layer ", index, " gives ", before.out_size(), " values, the next one takes ", wanted,
          " of another shape");
}

std::vector<SourceMap> make_maps(std::span<const FusedProduct> products, SourceTarget target) {
  const index_t stride = target == SourceTarget::cuda ? NetworkSource::kImages : 1;
  const Conv2dShape& first = products.front().shape;
  std::vector<SourceMap> maps{{first.channels, first.height, first.width, first.padding, stride}};
  for (std::size_t i = 0; i < products.size(); ++i) {
    if (i > 0) require_fit(products[i - 1], products[i], i);
    const index_t padding = i + 1 < products.size() ? products[i + 1].shape.padding : 0;
    maps.push_back({products[i].shape.filters, products[i].out_height(), products[i].out_width(), padding, stride});
  }
  return maps;
}

// A layer's input and its output take turns at the two ends of an arena, whose size it returns.
index_t place_at_ends(std::vector<SourceMap>& maps, bool shared) {
  index_t arena = 0;
  for (std::size_t i = 0; i < maps.size(); ++i) {
    if (maps[i].shared != shared) continue;
    const bool both = i + 1 < maps.size() && maps[i + 1].shared == shared;
    arena = std::max(arena, maps[i].size() + (both ? maps[i + 1].size() : 0));
  }
  for (std::size_t i = 0; i < maps.size(); ++i) {
    if (maps[i].shared == shared) maps[i].begin = i % 2 == 0 ? 0 : arena - maps[i].size();
  }
  return arena;
}

// The smallest first: they are as often read, and leave room for more.
void choose_shared(std::vector<SourceMap>& maps) {
  std::vector<std::size_t> order(maps.size());
  std::iota(order.begin(), order.end(), std::size_t(0));
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return maps[a].features() < maps[b].features(); });
  for (const std::size_t i : order) {
    const index_t before = i > 0 && maps[i - 1].shared ? maps[i - 1].size() : 0;
    const index_t after = i + 1 < maps.size() && maps[i + 1].shared ? maps[i + 1].size() : 0;
    const index_t size = maps[i].features() * (i == 0 ? kTurnStride : maps[i].stride);
    maps[i].shared = size + std::max(before, after) <= kSharedFloats;
    if (maps[i].shared && i == 0) maps[i].stride = kTurnStride;
  }
}

// Reads a map without a border, flattened.
bool is_flat(const FusedProduct& product) { return is_dense(product) && product.shape.groups == 1; }

index_t channel_of(const Conv2dShape& shape, index_t filter, index_t column) {
  return filter / shape.filters_per_group() * shape.channels_per_group() +
         column / (shape.kernel_width * shape.kernel_height);
}

index_t length_of(const FusedProduct& product, index_t filter) {
  return product.row_offsets[std::size_t(filter) + 1] - product.row_offsets[std::size_t(filter)];
}

}  // namespace

SourceLayout source_layout(std::span<const FusedProduct> products, SourceTarget target) {
  SourceLayout layout{.maps = make_maps(products, target)};
  if (target == SourceTarget::cuda) choose_shared(layout.maps);
  layout.shared = place_at_ends(layout.maps, true);
  layout.scratch = place_at_ends(layout.maps, false);
  return layout;
}

index_t feature_of(const FusedProduct& product, const SourceMap& in, index_t filter, index_t column) {
  const Conv2dShape& shape = product.shape;
  if (is_flat(product)) return column;
  const index_t kx = column % shape.kernel_width, ky = column / shape.kernel_width % shape.kernel_height;
  return channel_of(shape, filter, column) * in.plane() + ky * shape.dilation * in.row() + kx * shape.dilation;
}

std::vector<std::vector<index_t>> needed_filters(std::span<const FusedProduct> products) {
  std::vector<std::vector<index_t>> needed(products.size());
  for (std::size_t i = products.size(); i-- > 0;) {
    const FusedProduct& product = products[i];
    std::vector<bool> read(std::size_t(product.shape.filters), i + 1 == products.size());
    if (i + 1 < products.size()) {
      const FusedProduct& reader = products[i + 1];
      const index_t each = product.out_height() * product.out_width();
      for (const index_t filter : needed[i + 1]) {
        for (index_t k = reader.row_offsets[std::size_t(filter)]; k < reader.row_offsets[std::size_t(filter) + 1];
             ++k) {
          const index_t column = reader.column_indices[std::size_t(k)];
          read[std::size_t(is_flat(reader) ? column / each : channel_of(reader.shape, filter, column))] = true;
        }
      }
    }
    for (index_t filter = 0; filter < product.shape.filters; ++filter) {
      if (read[std::size_t(filter)]) needed[i].push_back(filter);
    }
  }
  return needed;
}

std::vector<std::vector<index_t>> deal_filters(const FusedProduct& product, std::vector<index_t> filters, index_t most,
                                               index_t groups) {
  const auto count = index_t(filters.size());
  groups = std::max(std::min(groups, count), ceil_div(count, most));
  std::stable_sort(filters.begin(), filters.end(),
                   [&](index_t a, index_t b) { return length_of(product, a) > length_of(product, b); });
  std::vector<std::vector<index_t>> dealt(static_cast<std::size_t>(groups));
  for (index_t i = 0; i < count; ++i) {
    const index_t turn = i % groups;  // there and back
    dealt[std::size_t(i / groups % 2 == 0 ? turn : groups - 1 - turn)].push_back(filters[std::size_t(i)]);
  }
  return dealt;
}

}  // namespace espalier::kernels
