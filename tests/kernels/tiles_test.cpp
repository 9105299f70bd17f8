// Reductions over tiles of a matrix against sums in double, for every shape of tile and every team.
#include "kernels/tiles.h"

#include <doctest/doctest.h>

#include <limits>

#include "kernels/require.h"
#include "tests/support/close.h"
#include "tests/support/guarded_buffer.h"
#include "tests/support/reference/scores.h"

using namespace espalier;
using namespace espalier::kernels;
using namespace espalier::test;

namespace {

constexpr float kGone = -std::numeric_limits<float>::infinity();
constexpr RowTeam kTeams[] = {RowTeam::automatic, RowTeam::thread, RowTeam::octet, RowTeam::warp, RowTeam::block};

// Elements, rows, columns, blocks with and without ragged edges, vectors, channels, and the whole matrix.
const std::vector<TiledMatrix> kShapes{{1, 1, 1, 1},    {7, 13, 1, 1},    {7, 13, 1, 13},    {7, 13, 7, 1},
                                       {33, 65, 4, 8},  {32, 64, 8, 16},  {31, 37, 16, 1},   {10, 27, 10, 9},
                                       {5, 2051, 1, 5}, {9, 300, 3, 300}, {64, 288, 64, 288}};

}  // namespace

TEST_CASE("reduce_tiles: sum, mean and norm of every tile") {
  for (const TiledMatrix& shape : kShapes) {
    const std::vector<float> host = random_floats(std::size_t(shape.rows * shape.columns), 1);
    const GuardedBuffer<float> x(host);
    for (const TileReduction reduction : {TileReduction::sum, TileReduction::mean, TileReduction::norm}) {
      const std::vector<double> expected = reduce_tiles_reference(shape, reduction, host);
      for (const RowTeam team : kTeams) {
        INFO(shape.rows, " x ", shape.columns, " in ", shape.tile_rows, " x ", shape.tile_columns, ", team ",
             int(team));
        GuardedBuffer<float> y{std::size_t(shape.tiles())};
        reduce_tiles(shape, reduction, x.data(), y.data(), nullptr, team);
        CHECK(difference(y.download(), expected, 2e-6, 1e-7 * double(shape.tile_rows * shape.tile_columns)) == "");
        CHECK(y.guards_intact());
      }
    }
  }
}

TEST_CASE("reduce_tiles: what is pruned adds nothing, and a tile of nothing else is minus infinity") {
  const TiledMatrix shape{9, 20, 2, 6};
  std::vector<float> host = random_floats(180, 2);
  const auto members = tile_members(shape);
  for (const std::size_t i : members[0]) host[i] = kGone;
  for (std::size_t tile = 1; tile < members.size(); tile += 2) host[members[tile][0]] = kGone;
  const GuardedBuffer<float> x(host);
  for (const TileReduction reduction : {TileReduction::sum, TileReduction::mean}) {
    const std::vector<double> expected = reduce_tiles_reference(shape, reduction, host);
    for (const RowTeam team : kTeams) {
      GuardedBuffer<float> y{std::size_t(shape.tiles())};
      reduce_tiles(shape, reduction, x.data(), y.data(), nullptr, team);
      const std::vector<float> result = y.download();
      CHECK(result[0] == kGone);
      CHECK(difference(std::vector<float>(result.begin() + 1, result.end()),
                       std::vector<double>(expected.begin() + 1, expected.end()), 2e-6, 2e-6) == "");
    }
  }
}

TEST_CASE("spread_tiles, multiply_tiles, spread_keep: each element gets what its tile has") {
  for (const TiledMatrix& shape : kShapes) {
    const std::size_t count = std::size_t(shape.rows * shape.columns);
    const std::vector<float> host = random_floats(count, 3), of_tiles = random_floats(std::size_t(shape.tiles()), 4);
    std::vector<std::uint8_t> kept;
    for (const float value : of_tiles) kept.push_back(value > 0 ? 1 : 0);
    const GuardedBuffer<float> tile(of_tiles);
    const GuardedBuffer<std::uint8_t> tile_keep(kept);
    GuardedBuffer<float> spread(count), product(host);
    GuardedBuffer<std::uint8_t> keep(count);
    spread_tiles(shape, tile.data(), spread.data(), nullptr);
    multiply_tiles(shape, tile.data(), product.data(), product.data(), nullptr);
    spread_keep(shape, tile_keep.data(), keep.data(), nullptr);
    std::vector<float> expected(count), products(count);
    std::vector<std::uint8_t> keeps(count);
    const auto members = tile_members(shape);
    for (std::size_t t = 0; t < members.size(); ++t) {
      for (const std::size_t i : members[t]) {
        expected[i] = of_tiles[t];
        products[i] = of_tiles[t] * host[i];
        keeps[i] = kept[t];
      }
    }
    CHECK(spread.download() == expected);
    CHECK(product.download() == products);
    CHECK(keep.download() == keeps);
    CHECK((spread.guards_intact() && product.guards_intact() && keep.guards_intact()));
  }
}

TEST_CASE("reduce_tiles: a tile of no rows is refused") {
  CHECK_THROWS_AS(reduce_tiles({4, 4, 0, 1}, TileReduction::sum, nullptr, nullptr, nullptr), InvalidArgument);
}
