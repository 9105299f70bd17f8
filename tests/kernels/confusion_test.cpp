// Counts of (label, predicted) against a plain loop, over odd sizes, ties, wrong labels and many calls.
#include "kernels/confusion.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "kernels/require.h"
#include "tests/support/close.h"
#include "tests/support/guarded_buffer.h"

using namespace espalier;
using namespace espalier::kernels;
using espalier::test::GuardedBuffer;

namespace {

void check_confusion(index_t rows, index_t classes) {
  CAPTURE(rows);
  CAPTURE(classes);
  std::vector<float> logits = test::random_floats(std::size_t(rows * classes), unsigned(rows + classes));
  std::vector<std::int32_t> labels;
  std::mt19937 engine(3);
  for (index_t row = 0; row < rows; ++row) labels.push_back(std::int32_t(engine() % unsigned(classes)));
  labels.front() = std::int32_t(classes);  // no class
  if (rows > 1) labels.back() = -1;
  for (index_t k = 0; k < classes; ++k) logits[std::size_t(rows / 2 * classes + k)] = 0.5f;  // a tie: the first wins

  GuardedBuffer<std::int64_t> counts(std::vector<std::int64_t>(std::size_t(classes * classes), 2));
  GuardedBuffer<double> loss_sum(std::vector<double>{0.25});
  const GuardedBuffer<float> device_logits(logits), mean_loss(std::vector<float>{1.5f});
  const GuardedBuffer<std::int32_t> device_labels(labels);
  for (int call = 0; call < 3; ++call) {
    accumulate_confusion(rows, classes, device_logits.data(), device_labels.data(), mean_loss.data(), counts.data(),
                         loss_sum.data(), nullptr);
  }
  std::vector<std::int64_t> expected(std::size_t(classes * classes), 2);
  for (index_t row = 0; row < rows; ++row) {
    const auto first = logits.begin() + row * classes;
    const index_t label = labels[std::size_t(row)], best = std::max_element(first, first + classes) - first;
    if (label >= 0 && label < classes) expected[std::size_t(label * classes + best)] += 3;
  }
  CHECK(counts.download() == expected);
  CHECK(loss_sum.download().front() == 0.25 + 3 * 1.5 * double(rows));
  CHECK(counts.guards_intact());
  CHECK(loss_sum.guards_intact());
}

}  // namespace

TEST_CASE("confusion: counts equal a plain loop's, first maximum wins, wrong labels count nowhere") {
  for (const index_t rows : {1, 2, 31, 257, 1031}) {
    for (const index_t classes : {1, 2, 10, 33}) check_confusion(rows, classes);
  }
  CHECK_THROWS_AS(accumulate_confusion(0, 10, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr), InvalidArgument);
}
