#include "pruning/group.h"

#include "kernels/require.h"

namespace espalier::pruning::group {
namespace {

// Rows, columns and the weights of one window; a vector is a matrix of one column.
struct Extents {
  std::int64_t rows, columns, window;
  explicit Extents(const Shape& weight)
      : rows(weight.rank() > 0 ? weight[0] : 1),
        columns(weight.size() / rows),
        window(weight.rank() > 1 ? columns / weight[1] : 1) {}
  kernels::TiledMatrix tiled(std::int64_t tile_rows, std::int64_t tile_columns) const {
    return {.rows = rows, .columns = columns, .tile_rows = tile_rows, .tile_columns = tile_columns};
  }
};

}  // namespace

Grouping element() { return block(1, 1); }

Grouping row() {
  return [](const Shape& weight) {
    const Extents extents(weight);
    return extents.tiled(1, extents.columns);
  };
}

Grouping column() {
  return [](const Shape& weight) {
    const Extents extents(weight);
    return extents.tiled(extents.rows, 1);
  };
}

Grouping channel() {
  return [](const Shape& weight) {
    const Extents extents(weight);
    return extents.tiled(extents.rows, extents.window);
  };
}

Grouping kernel() {
  return [](const Shape& weight) {
    const Extents extents(weight);
    return extents.tiled(1, extents.window);
  };
}

Grouping block(std::int64_t rows, std::int64_t columns) {
  require(rows >= 1 && columns >= 1, "group::block: ", rows, " x ", columns, "; both must be at least 1");
  return [=](const Shape& weight) {
    const Extents extents(weight);
    return extents.tiled(std::min(rows, extents.rows), std::min(columns, extents.columns));
  };
}

}  // namespace espalier::pruning::group
