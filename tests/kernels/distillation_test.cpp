// The distillation loss against plain loops in double: every team, odd rows, one to eight teachers, extreme logits.
#include "kernels/distillation.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "kernels/require.h"
#include "tests/support/close.h"
#include "tests/support/guarded_buffer.h"
#include "tests/support/reference/distillation.h"

namespace espalier::kernels {
namespace {

using namespace espalier::test;

// As for softmax_test, times the temperature's square that multiplies the loss.
constexpr double kTolerance = 150 * 0x1p-24;

struct Problem {
  MatrixShape shape;
  std::vector<float> x;
  std::vector<std::int32_t> labels;
  std::vector<std::vector<float>> teachers;
  std::vector<std::int32_t> rows = {};  // of the teachers' tables; empty: their rows are the pupil's

  Problem(const MatrixShape& of, int count) : shape(of), x(random_floats(std::size_t(of.size()), 3, -4, 4)) {
    for (const float value : random_floats(std::size_t(of.rows), 5, 0, 1)) {
      labels.push_back(std::int32_t(value * float(of.columns)));
    }
    for (int k = 0; k < count; ++k) {
      teachers.push_back(random_floats(std::size_t(of.size()), unsigned(11 + k), -6, 6));
    }
  }
};

struct Result {
  float loss = 0;
  std::vector<float> dlogits;
  double loss_sum = 0;
  std::int64_t counted = 0, correct = 0;
};

Result run(const Problem& problem, const DistillationShare& share, RowTeam team, bool one_launch) {
  const MatrixShape& shape = problem.shape;
  const GuardedBuffer<float> x(problem.x);
  const GuardedBuffer<std::int32_t> labels(problem.labels);
  std::vector<GuardedBuffer<float>> on_device;
  on_device.reserve(problem.teachers.size());
  Teachers teachers;
  for (const std::vector<float>& one : problem.teachers) {
    on_device.emplace_back(one);
    teachers.logits[teachers.count++] = on_device.back().data();
  }
  const GuardedBuffer<std::int32_t> rows(problem.rows);
  if (!problem.rows.empty()) teachers.rows = rows.data();
  GuardedBuffer<float> loss(1), dlogits(std::size_t(shape.size()));
  GuardedBuffer<double> sum(std::vector<double>{0});
  GuardedBuffer<std::int64_t> confusion(std::vector<std::int64_t>(std::size_t(shape.columns * shape.columns), 0));
  GuardedBuffer<unsigned> arrivals(std::vector<unsigned>{0});
  GuardedBuffer<unsigned char> workspace(softmax_cross_entropy_workspace_bytes(shape));
  distillation_loss(shape, share, teachers, x.data(), labels.data(),
                    {loss.data(), dlogits.data(), sum.data(), confusion.data()}, workspace.data(), nullptr,
                    one_launch ? arrivals.data() : nullptr, team);
  CHECK((loss.guards_intact() && dlogits.guards_intact() && sum.guards_intact() && confusion.guards_intact()));
  Result result{loss.download()[0], dlogits.download(), sum.download()[0]};
  const std::vector<std::int64_t> counts = confusion.download();
  for (std::size_t i = 0; i < counts.size(); ++i) {
    result.counted += counts[i];
    if (std::int64_t(i) % (shape.columns + 1) == 0) result.correct += counts[i];
  }
  return result;
}

void check(const MatrixShape& shape, int teachers, const DistillationShare& share, RowTeam team, bool one_launch) {
  INFO("[", shape.rows, ", ", shape.columns, "], ", teachers, " teachers, T ", share.temperature, ", team ", int(team));
  const Problem problem(shape, teachers);
  const CrossEntropyInDouble expected =
      distillation_reference(shape, share.temperature, share.weight, problem.x, problem.labels, problem.teachers);
  const Result result = run(problem, share, team, one_launch);
  const double size = std::max(1.0, double(share.temperature) * share.temperature) * (1 + expected.loss);
  CHECK(std::abs(result.loss - expected.loss) <= kTolerance * size);
  CHECK(std::abs(result.loss_sum / double(shape.rows) - expected.loss) <= kTolerance * size);
  CHECK(difference(result.dlogits, expected.dlogits, 0,
                   kTolerance * std::max(1.0f, share.temperature) / double(shape.rows)) == "");
  std::int64_t correct = 0;
  for (index_t row = 0; row < shape.rows; ++row) {
    const auto first = problem.x.begin() + row * shape.columns;
    correct += std::max_element(first, first + shape.columns) - first == problem.labels[std::size_t(row)];
  }
  CHECK(result.counted == shape.rows);
  CHECK(result.correct == correct);
}

}  // namespace

TEST_CASE("distillation_loss: loss, gradient and counts equal plain loops in double, for every team and shape") {
  constexpr RowTeam teams[] = {RowTeam::automatic, RowTeam::thread, RowTeam::octet, RowTeam::warp, RowTeam::block};
  for (const MatrixShape& shape : {MatrixShape{1, 1}, MatrixShape{65, 10}, MatrixShape{5, 2}, MatrixShape{7, 7},
                                   MatrixShape{9, 33}, MatrixShape{3, 255}}) {
    for (const RowTeam team : teams) check(shape, 2, {.temperature = 4.0f, .weight = 0.7f}, team, true);
    check(shape, 1, {.temperature = 1.0f, .weight = 1.0f}, RowTeam::automatic, false);
    check(shape, 8, {.temperature = 2.5f, .weight = 0.9f}, RowTeam::automatic, false);
    check(shape, 3, {.temperature = 0.5f, .weight = 0.0f}, RowTeam::automatic, true);
  }
}

TEST_CASE("distillation_loss: rows of the teachers' tables give the same bits as teachers asked in that order") {
  for (const MatrixShape& shape : {MatrixShape{1, 1}, MatrixShape{65, 10}, MatrixShape{5, 33}, MatrixShape{3, 255}}) {
    Problem asked(shape, 2), tables = asked;
    for (index_t row = 0; row < shape.rows; ++row) tables.rows.push_back(std::int32_t((row * 7 + 2) % shape.rows));
    for (std::vector<float>& table : tables.teachers) {
      table.resize(std::size_t((shape.rows + 1) * shape.columns), 5.0f);  // of more samples than there are rows
    }
    for (std::size_t k = 0; k < 2; ++k) {
      for (index_t i = 0; i < shape.size(); ++i) {
        const index_t row = tables.rows[std::size_t(i / shape.columns)];
        asked.teachers[k][std::size_t(i)] = tables.teachers[k][std::size_t(row * shape.columns + i % shape.columns)];
      }
    }
    for (const RowTeam team : {RowTeam::thread, RowTeam::octet, RowTeam::warp, RowTeam::block}) {
      const Result expected = run(asked, {}, team, true), result = run(tables, {}, team, true);
      CHECK(result.loss == expected.loss);
      CHECK(result.dlogits == expected.dlogits);
    }
  }
}

TEST_CASE("distillation_loss: a teacher that is sure and far away neither overflows nor gives NaN") {
  Problem problem({2, 3}, 1);
  problem.x = {1e4f, 0, -1e4f, 0, 0, 0};
  problem.labels = {0, 1};
  problem.teachers = {{3e38f, 0, -3e38f, 0, 1e30f, 0}};
  const Result result = run(problem, {.temperature = 4.0f, .weight = 0.5f}, RowTeam::automatic, true);
  const double second = 0.5 * std::log(3.0) + 0.5 * 16 * std::log(3.0);  // of the first row nothing is left
  CHECK(result.loss == doctest::Approx(second / 2));
  for (const float value : result.dlogits) CHECK(std::isfinite(value));
}

TEST_CASE("distillation_loss: a label out of range gives NaN, and only in its row") {
  Problem problem({3, 4}, 2);
  problem.labels = {1, 4, 2};
  for (const RowTeam team : {RowTeam::thread, RowTeam::octet}) {
    const Result result = run(problem, {}, team, true);
    CHECK(std::isnan(result.loss));
    CHECK(result.counted == 2);
    for (std::size_t i = 0; i < 12; ++i) CHECK(std::isnan(result.dlogits[i]) == (i / 4 == 1));
  }
}

TEST_CASE("distillation_loss: what cannot be is refused") {
  const auto refused = [](const MatrixShape& shape, const DistillationShare& share, int teachers) {
    CHECK_THROWS_AS(distillation_loss(shape, share, {.count = teachers}, nullptr, nullptr, {}, nullptr, nullptr),
                    InvalidArgument);
  };
  refused({0, 10}, {}, 1);
  refused({1, 10}, {}, 0);
  refused({1, 10}, {}, 9);
  refused({1, 10}, {.temperature = 0.0f}, 1);
  refused({1, 10}, {.weight = 1.5f}, 1);
}

}  // namespace espalier::kernels
