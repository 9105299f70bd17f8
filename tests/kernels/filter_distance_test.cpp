// Distances between filters against loops in double: odd and even sizes, zero and equal filters, every team.
#include "kernels/filter_distance.h"

#include <doctest/doctest.h>

#include "tests/support/close.h"
#include "tests/support/guarded_buffer.h"
#include "tests/support/reference/scores.h"

using namespace espalier;
using namespace espalier::kernels;
using namespace espalier::test;

TEST_CASE("filter_distances: sums of distances and of angles to all other rows") {
  for (const MatrixShape shape : {MatrixShape{.rows = 1, .columns = 1}, MatrixShape{.rows = 2, .columns = 9},
                                  MatrixShape{.rows = 17, .columns = 33}, MatrixShape{.rows = 40, .columns = 257}}) {
    std::vector<float> host = random_floats(std::size_t(shape.rows * shape.columns), unsigned(shape.columns));
    if (shape.rows > 8) {  // a filter of zeros, and two that are equal
      for (index_t i = 0; i < shape.columns; ++i) {
        host[std::size_t(3 * shape.columns + i)] = 0.0f;
        host[std::size_t(7 * shape.columns + i)] = host[std::size_t(5 * shape.columns + i)];
      }
    }
    const GuardedBuffer<float> w(host);
    for (const FilterDistance distance : {FilterDistance::euclidean, FilterDistance::angular}) {
      const auto expected = filter_distances_reference(std::size_t(shape.rows), std::size_t(shape.columns),
                                                       distance == FilterDistance::angular, host);
      for (const RowTeam team : {RowTeam::automatic, RowTeam::thread, RowTeam::octet, RowTeam::warp, RowTeam::block}) {
        GuardedBuffer<float> sum{std::size_t(shape.rows)};
        filter_distances(shape, distance, w.data(), sum.data(), nullptr, team);
        INFO(shape.rows, " x ", shape.columns, ", distance ", int(distance), ", team ", int(team));
        CHECK(difference(sum.download(), expected, 1e-5, 1e-5) == "");
        CHECK(sum.guards_intact());
      }
    }
  }
}
