// Columns copied between matrices of different width: every element in its place, none beside it written.
#include "kernels/concat.h"

#include <doctest/doctest.h>

#include "kernels/require.h"
#include "tests/support/close.h"
#include "tests/support/guarded_buffer.h"

namespace espalier::kernels {
namespace {

using namespace espalier::test;

void check(const ColumnRun& run, index_t from_begin, index_t to_begin) {
  INFO(run.rows, " x ", run.columns, " from rows of ", run.from_pitch, " at ", from_begin, " to rows of ", run.to_pitch,
       " at ", to_begin);
  const std::vector<float> from = random_floats(std::size_t(run.rows * run.from_pitch), 1);
  std::vector<float> expected = random_floats(std::size_t(run.rows * run.to_pitch), 2);
  const GuardedBuffer<float> on_from(from);
  GuardedBuffer<float> on_to(expected);
  copy_columns(run, on_from.data() + from_begin, on_to.data() + to_begin, nullptr);
  for (index_t row = 0; row < run.rows; ++row) {
    for (index_t column = 0; column < run.columns; ++column) {
      expected[std::size_t(row * run.to_pitch + to_begin + column)] =
          from[std::size_t(row * run.from_pitch + from_begin + column)];
    }
  }
  CHECK(on_to.download() == expected);
  CHECK(on_to.guards_intact());
}

TEST_CASE("copy_columns: copies the run and leaves its neighbours alone") {
  check({}, 0, 0);
  for (const index_t columns : {1, 3, 31, 32, 33, 257, 4099}) {
    check({.rows = 3, .columns = columns, .from_pitch = columns, .to_pitch = columns + 5}, 0, 2);
    check({.rows = 7, .columns = columns, .from_pitch = columns + 3, .to_pitch = columns}, 3, 0);
  }
  check({.rows = 1031, .columns = 2, .from_pitch = 5, .to_pitch = 3}, 1, 1);
}

TEST_CASE("copy_columns: nothing to copy is fine, rows that would overlap are refused") {
  copy_columns({.rows = 0, .columns = 4, .from_pitch = 4, .to_pitch = 4}, nullptr, nullptr, nullptr);
  CHECK_THROWS_AS(copy_columns({.rows = 2, .columns = 4, .from_pitch = 3, .to_pitch = 4}, nullptr, nullptr, nullptr),
                  InvalidArgument);
}

}  // namespace
}  // namespace espalier::kernels
