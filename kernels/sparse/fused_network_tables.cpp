// Where the maps of a fused network lie in shared memory, and every nonzero's place in them.
#include <algorithm>
#include <climits>
#include <numeric>

#include "kernels/grid.h"
#include "kernels/require.h"
#include "kernels/sparse/fused_network.h"

namespace espalier::kernels {
namespace {

constexpr int kMostImages = 32;       // of a block: the lanes of a warp
constexpr index_t kCachedArenas = 4;  // of a GPU's shared memory: what the second-level cache of a CPU's core holds

// A layer's input in shared memory: [channels][height + 2 padding][width + 2 padding][images], rows `row` floats apart.
struct Map {
  index_t channels, height, width, padding;
  index_t images, row, plane, floats, begin = 0;
  index_t origin() const { return padding * (row + images); }
  index_t at(index_t channel, index_t y, index_t x) const { return channel * plane + y * row + x * images; }
};

bool has_tiles(const FusedProduct& product) { return !product.single() || product.shape.padding > 0; }

// Outputs beyond the last ones are computed and dropped: floats that they read beyond the map.
index_t overhang(const FusedProduct& reader, index_t row, index_t images) {
  const bool odd = reader.shape.out_height() % 2 == 1 || reader.shape.out_width() % 2 == 1;
  return has_tiles(reader) && !reader.pool && odd ? reader.shape.stride * (row + images) : 0;
}

// `reader` is null for the last map. Half a pixel more per row puts the four windows that a warp reads side by side
// into different banks.
Map make_map(index_t channels, index_t height, index_t width, const FusedProduct* reader, index_t images,
             SparseTeam team) {
  const bool tiles = reader && has_tiles(*reader);
  Map map{channels, height, width, tiles ? reader->shape.padding : 0, images, 0, 0, 0};
  map.row = (width + 2 * map.padding) * images + (tiles && is_warp(team) ? images / 2 : 0);
  map.plane = (height + 2 * map.padding) * map.row;
  map.floats = channels * map.plane + (reader ? overhang(*reader, map.row, images) : 0);
  return map;
}

void require_fit(const FusedProduct& before, const FusedProduct& after, std::size_t index) {
  const bool same = after.shape.channels == before.shape.filters && after.shape.height == before.out_height() &&
                    after.shape.width == before.out_width();
  const index_t wanted = after.shape.channels * after.shape.height * after.shape.width;
  require(same || (after.single() && after.shape.groups == 1 && wanted == before.out_size()), "fused network: layer ",
          index, " gives ", before.out_size(), " values, the next one takes ", wanted, " of another shape");
}

std::vector<Map> make_maps(std::span<const FusedProduct> products, index_t images, SparseTeam team) {
  const Conv2dShape& first = products.front().shape;
  std::vector<Map> maps{make_map(first.channels, first.height, first.width, &products.front(), images, team)};
  for (std::size_t i = 0; i < products.size(); ++i) {
    const FusedProduct& product = products[i];
    const FusedProduct* reader = i + 1 < products.size() ? &products[i + 1] : nullptr;
    if (reader) require_fit(product, *reader, i + 1);
    maps.push_back(make_map(product.shape.filters, product.out_height(), product.out_width(), reader, images, team));
  }
  index_t arena = 0;  // a layer's input and its output take turns at the two ends
  for (std::size_t i = 0; i + 1 < maps.size(); ++i) arena = std::max(arena, maps[i].floats + maps[i + 1].floats);
  for (std::size_t i = 1; i < maps.size(); i += 2) maps[i].begin = arena - maps[i].floats;
  return maps;
}

index_t arena_of(const std::vector<Map>& maps) {
  index_t end = 0;
  for (const Map& map : maps) end = std::max(end, map.begin + map.floats);
  return end;
}

// Where a filter's weight finds its input, from the first input of an output.
index_t offset_of(const FusedProduct& product, const Map& map, index_t filter, index_t column) {
  const Conv2dShape& shape = product.shape;
  // A dense layer: flattened, whatever its image was.
  if (!has_tiles(product) && shape.patch() == map.channels * map.height * map.width) {
    return map.at(column / (map.height * map.width), column / map.width % map.height, column % map.width);
  }
  const index_t kx = column % shape.kernel_width, ky = column / shape.kernel_width % shape.kernel_height;
  const index_t channel = filter / shape.filters_per_group() * shape.channels_per_group() +
                          column / shape.kernel_width / shape.kernel_height;
  return map.at(channel, ky * shape.dilation, kx * shape.dilation);
}

void add_rows(const FusedProduct& product, const Map& in, const Map& out, FusedTables& tables) {
  std::vector<index_t> filters(std::size_t(product.shape.filters));
  std::iota(filters.begin(), filters.end(), index_t(0));
  const auto length = [&](index_t filter) {
    return product.row_offsets[std::size_t(filter) + 1] - product.row_offsets[std::size_t(filter)];
  };
  std::stable_sort(filters.begin(), filters.end(), [&](index_t a, index_t b) { return length(a) > length(b); });
  for (const index_t filter : filters) {
    FusedRow row{std::int32_t(tables.nonzeros.size()), 0, std::int32_t(out.begin + out.origin() + filter * out.plane),
                 product.bias.empty() ? 0.0f : product.bias[std::size_t(filter)]};
    for (auto i = std::size_t(product.row_offsets[std::size_t(filter)]);
         i < std::size_t(product.row_offsets[std::size_t(filter) + 1]); ++i) {
      const index_t offset = offset_of(product, in, filter, product.column_indices[i]);
      tables.nonzeros.push_back({product.values[i], std::int32_t(offset)});
    }
    row.end = std::int32_t(tables.nonzeros.size());
    tables.rows.push_back(row);
  }
}

FusedLayer make_layer(const FusedProduct& product, const Map& in, const Map& out) {
  const index_t height = product.out_height(), width = product.out_width(), side = product.pool ? 1 : 2;
  FusedLayer layer{.rows = std::int32_t(product.shape.filters),
                   .input = std::int32_t(in.begin),
                   .step_x = std::int32_t(product.shape.stride * in.images),
                   .step_y = std::int32_t(product.shape.stride * in.row),
                   .out_x = std::int32_t(out.images),
                   .out_y = std::int32_t(out.row),
                   .out_width = std::int32_t(width),
                   .out_height = std::int32_t(height),
                   .pool = product.pool,
                   .activation = product.activation,
                   .slope = product.slope};
  if (has_tiles(product)) {
    layer.tiles_x = std::int32_t(ceil_div(width, side)), layer.tiles_y = std::int32_t(ceil_div(height, side));
  }
  return layer;
}

bool must_be_cleared(const Map& map) { return map.padding > 0 || map.floats > map.channels * map.plane; }

}  // namespace

void FusedProduct::set_weight(std::span<const float> weight) {
  require(index_t(weight.size()) == shape.weight_size(), "a weight of ", weight.size(), " elements, the shape has ",
          shape.weight_size());
  row_offsets.assign(1, 0), column_indices.clear(), values.clear();
  for (index_t i = 0; i < index_t(weight.size()); ++i) {
    const index_t column = i % shape.patch();
    if (weight[std::size_t(i)] != 0.0f) {
      column_indices.push_back(std::int32_t(column)), values.push_back(weight[std::size_t(i)]);
    }
    if (column == shape.patch() - 1) row_offsets.push_back(std::int32_t(values.size()));
  }
}

FusedTables fused_tables(std::span<const FusedProduct> products, int images, SparseTeam team) {
  require(!products.empty() && products.size() <= std::size_t(FusedNetwork::kMostLayers),
          "fused network: ", products.size(), " layers; there may be 1 to ", FusedNetwork::kMostLayers);
  const std::vector<Map> maps = make_maps(products, images, team);
  const Map &first = maps.front(), &last = maps.back();
  FusedTables tables;
  FusedNetwork& network = tables.network;
  require(arena_of(maps) <= INT_MAX / 4, "fused network: ", arena_of(maps), " activations in a block are too many");
  network.images = images, network.layer_count = std::int32_t(products.size());
  network.floats = std::int32_t(arena_of(maps));
  network.channels = std::int32_t(first.channels), network.height = std::int32_t(first.height);
  network.width = std::int32_t(first.width), network.plane = std::int32_t(first.plane);
  network.row = std::int32_t(first.row), network.origin = std::int32_t(first.origin());
  network.clear = must_be_cleared(first) ? std::int32_t(first.floats) : 0;
  network.result = std::int32_t(last.begin), network.outputs = std::int32_t(products.back().out_size());
  for (std::size_t i = 0; i < products.size(); ++i) {
    FusedLayer layer = make_layer(products[i], maps[i], maps[i + 1]);
    layer.first_row = std::int32_t(tables.rows.size());
    if (must_be_cleared(maps[i + 1])) {
      layer.clear_begin = std::int32_t(maps[i + 1].begin), layer.clear = std::int32_t(maps[i + 1].floats);
    }
    add_rows(products[i], maps[i], maps[i + 1], tables);
    network.layers[i] = layer;
  }
  return tables;
}

int fused_images(std::span<const FusedProduct> products, index_t batch, index_t shared_bytes, int multiprocessors,
                 SparseTeam team) {
  const auto fits = [&](int images) {
    return arena_of(make_maps(products, images, team)) * index_t(sizeof(float)) <= shared_bytes;
  };
  if (!is_warp(team)) {
    const index_t bytes = arena_of(make_maps(products, simt::kLanes, team)) * index_t(sizeof(float));
    return bytes <= kCachedArenas * shared_bytes ? simt::kLanes : 0;
  }
  int images = kMostImages;
  while (images > 1 && (!fits(images) || ceil_div<index_t>(batch, images) < multiprocessors)) images /= 2;
  return fits(images) ? images : 0;
}

}  // namespace espalier::kernels
