#include "kernels/reduce.h"

#include <doctest/doctest.h>

#include <limits>

#include "tests/support/close.h"
#include "tests/support/guarded_buffer.h"
#include "tests/support/reference/reduce.h"

using namespace espalier;
using namespace espalier::kernels;
using namespace espalier::test;

namespace {

constexpr Reduction kReductions[] = {Reduction::sum, Reduction::mean, Reduction::sum_of_squares, Reduction::maximum};
constexpr RowTeam kTeams[] = {RowTeam::automatic, RowTeam::thread, RowTeam::octet, RowTeam::warp, RowTeam::block};

// Longest chain of float additions: 128 rows or 4096 / 256 + 64 terms, their tree and the final rounding.
constexpr double kTolerance = 140 * 0x1p-24;

// "" when y equals the reference within kTolerance of the sum of magnitudes and no guard is broken.
std::string compare(const GuardedBuffer<float>& y, const ReducedInDouble& expected) {
  if (!y.guards_intact()) return "broken guard";
  const std::vector<float> values = y.download();
  for (std::size_t c = 0; c < values.size(); ++c) {
    if (!(std::abs(values[c] - expected.value[c]) <= kTolerance * expected.magnitude[c])) {
      return "[" + std::to_string(c) + "]: " + std::to_string(values[c]) + ", expected " +
             std::to_string(expected.value[c]);
    }
  }
  return "";
}

void check_planes(const PlanesShape& shape) {
  const std::vector<float> host = random_floats(std::size_t(shape.size()), 7);
  const GuardedBuffer<float> x(host);
  for (Reduction reduction : kReductions) {
    const ReducedInDouble expected = reduce_planes_reference(shape, reduction, host);
    for (RowTeam team : {RowTeam::automatic, RowTeam::thread, RowTeam::block}) {
      INFO("[", shape.batch, ", ", shape.channels, ", ", shape.area, "], reduction ", int(reduction), ", team ",
           int(team));
      GuardedBuffer<float> y{std::size_t(shape.channels)};
      GuardedBuffer<unsigned char> workspace(reduce_planes_workspace_bytes(shape));
      reduce_planes(shape, reduction, x.data(), y.data(), workspace.data(), nullptr, team);
      CHECK(compare(y, expected) == "");
      CHECK(workspace.guards_intact());
    }
  }
}

void check_rows(const MatrixShape& shape) {
  const std::vector<float> host = random_floats(std::size_t(shape.size()), 11);
  const GuardedBuffer<float> x(host);
  for (Reduction reduction : kReductions) {
    const ReducedInDouble expected = reduce_planes_reference({1, shape.rows, shape.columns}, reduction, host);
    for (RowTeam team : kTeams) {
      const bool small = team == RowTeam::octet || team == RowTeam::thread;
      if (small && shape.columns > 129) continue;  // longer chains: these teams are for short rows
      INFO("[", shape.rows, ", ", shape.columns, "], reduction ", int(reduction), ", team ", int(team));
      GuardedBuffer<float> y{std::size_t(shape.rows)};
      GuardedBuffer<unsigned char> workspace(reduce_rows_workspace_bytes(shape));
      reduce_rows(shape, reduction, x.data(), y.data(), workspace.data(), nullptr, team);
      CHECK(compare(y, expected) == "");
      CHECK(workspace.guards_intact());
    }
  }
}

std::vector<std::int32_t> argmax_reference(const MatrixShape& shape, const std::vector<float>& x) {
  std::vector<std::int32_t> index;
  for (std::int64_t row = 0; row < shape.rows; ++row) {
    const float* x_row = x.data() + row * shape.columns;
    std::int32_t best = 0;
    for (std::int32_t c = 1; c < shape.columns; ++c) {
      if (!std::isnan(x_row[best]) && (x_row[c] > x_row[best] || std::isnan(x_row[c]))) best = c;
    }
    index.push_back(best);
  }
  return index;
}

}  // namespace

TEST_CASE("reduce_planes: equals plain loops in double for every reduction, team and shape") {
  for (index_t area : {1, 37, 4095, 4096, 4097, 8193}) check_planes({1, 1, area});
  for (index_t batch : {3, 128, 129, 260}) {
    for (index_t channels : {1, 7, 31, 32, 33, 63, 64, 65}) check_planes({batch, channels, 1});
  }
  for (const PlanesShape& shape : {PlanesShape{3, 5, 7}, {2, 33, 49}, {5, 3, 255}, {5, 3, 257}, {17, 2, 600}}) {
    check_planes(shape);
  }
}

TEST_CASE("reduce_rows: equals plain loops in double for every reduction, team and shape") {
  for (const MatrixShape& shape : {MatrixShape{1, 1},
                                   {1, 7},
                                   {129, 10},
                                   {17, 31},
                                   {16, 32},
                                   {15, 33},
                                   {5, 127},
                                   {3, 128},
                                   {9, 129},
                                   {2, 1021},
                                   {3, 4096},
                                   {2, 8193},
                                   {1, 20011}}) {
    check_rows(shape);
  }
}

TEST_CASE("reduce_all and reduce_columns are reductions of one channel and of area 1") {
  const std::vector<float> host = random_floats(33 * 70, 13);
  const GuardedBuffer<float> x(host);
  GuardedBuffer<float> total(1), columns(70);
  GuardedBuffer<unsigned char> workspace(reduce_columns_workspace_bytes({33, 70}));
  reduce_columns({33, 70}, Reduction::sum, x.data(), columns.data(), workspace.data(), nullptr);
  CHECK(compare(columns, reduce_planes_reference({33, 70, 1}, Reduction::sum, host)) == "");
  GuardedBuffer<unsigned char> all(reduce_all_workspace_bytes(33 * 70));
  reduce_all(33 * 70, Reduction::sum_of_squares, x.data(), total.data(), all.data(), nullptr);
  CHECK(compare(total, reduce_planes_reference({1, 1, 33 * 70}, Reduction::sum_of_squares, host)) == "");
}

TEST_CASE("reduce_all: of nothing is 0, -infinity or NaN") {
  const GuardedBuffer<float> x(std::size_t{1});
  GuardedBuffer<float> y(1);
  GuardedBuffer<unsigned char> workspace(reduce_all_workspace_bytes(0));
  const auto of_nothing = [&](Reduction reduction) {
    reduce_all(0, reduction, x.data(), y.data(), workspace.data(), nullptr);
    return y.download()[0];
  };
  CHECK(of_nothing(Reduction::sum) == 0.0f);
  CHECK(of_nothing(Reduction::maximum) == -std::numeric_limits<float>::infinity());
  CHECK(std::isnan(of_nothing(Reduction::mean)));
}

TEST_CASE("reduce: a NaN wins every maximum wherever it stands") {
  const std::vector<float> host = random_floats(2000, 17);
  for (std::size_t at : {0u, 1u, 63u, 64u, 999u, 1999u}) {
    std::vector<float> broken = host;
    broken[at] = std::numeric_limits<float>::quiet_NaN();
    const GuardedBuffer<float> x(broken);
    GuardedBuffer<float> y(1);
    GuardedBuffer<unsigned char> workspace(reduce_all_workspace_bytes(2000));
    for (RowTeam team : {RowTeam::thread, RowTeam::block}) {
      reduce_all(2000, Reduction::maximum, x.data(), y.data(), workspace.data(), nullptr, team);
      CHECK(std::isnan(y.download()[0]));
    }
  }
}

TEST_CASE("argmax_rows: the first of equal maxima, a NaN before all, in every team") {
  for (const MatrixShape& shape : {MatrixShape{1, 1}, {9, 10}, {5, 31}, {6, 33}, {3, 257}, {2, 1021}}) {
    std::vector<float> host = random_floats(std::size_t(shape.size()), 19);
    for (float& value : host) value = std::round(value * 4);  // many ties
    if (shape.rows > 2) host[std::size_t(shape.columns + shape.columns / 2)] = NAN;
    const GuardedBuffer<float> x(host);
    for (RowTeam team : kTeams) {
      INFO("[", shape.rows, ", ", shape.columns, "], team ", int(team));
      GuardedBuffer<std::int32_t> index{std::size_t(shape.rows)};
      argmax_rows(shape, x.data(), index.data(), nullptr, team);
      CHECK(index.download() == argmax_reference(shape, host));
      CHECK(index.guards_intact());
    }
  }
}
