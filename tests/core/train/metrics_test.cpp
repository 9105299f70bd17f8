// Ratios of a known confusion matrix, and their accumulation on the device.
#include "core/train/metrics.h"

#include <doctest/doctest.h>

#include "kernels/require.h"

using namespace espalier;
using doctest::Approx;

TEST_CASE("metrics: accuracy, precision, recall and F1 of a matrix worked out by hand") {
  const Metrics metrics{0.5, 3, {5, 1, 0, 2, 3, 0, 0, 0, 4}};
  CHECK(metrics.samples() == 15);
  CHECK(metrics.correct() == 12);
  CHECK(metrics.accuracy() == Approx(0.8));
  CHECK(metrics.precision(0) == Approx(5.0 / 7));
  CHECK(metrics.recall(0) == Approx(5.0 / 6));
  CHECK(metrics.f1(0) == Approx(10.0 / 13));
  CHECK(metrics.precision(2) == 1.0);
  CHECK(metrics.macro_recall() == Approx((5.0 / 6 + 3.0 / 5 + 1) / 3));
  CHECK(metrics.macro_precision() == Approx((5.0 / 7 + 3.0 / 4 + 1) / 3));
  CHECK(metrics.macro_f1() == Approx((10.0 / 13 + 2.0 / 3 + 1) / 3));
}

TEST_CASE("metrics: classes that never occur give zero, not NaN") {
  const Metrics empty{0, 2, {0, 0, 0, 0}};
  CHECK(empty.accuracy() == 0);
  CHECK(empty.macro_f1() == 0);
  const Metrics one_sided{0, 2, {3, 0, 0, 0}};
  CHECK(one_sided.accuracy() == 1);
  CHECK(one_sided.macro_recall() == 0.5);
}

TEST_CASE("metrics: batches add up on the device") {
  MetricsAccumulator accumulator(3);
  const Tensor logits = Tensor::from({2, 3}, std::vector<float>{0, 2, 1, 5, 4, 3});
  const Tensor labels = Tensor::from({2}, std::vector<std::int32_t>{1, 2});
  accumulator.add(logits, labels, Tensor::full({1}, 0.5f));
  accumulator.add(logits, labels, Tensor::full({1}, 1.5f));
  const Metrics metrics = accumulator.read();
  CHECK(metrics.samples() == 4);
  CHECK(metrics.loss == 1.0);
  CHECK(metrics.confusion == std::vector<std::int64_t>{0, 0, 0, 0, 2, 0, 2, 0, 0});
  accumulator.reset();
  CHECK(accumulator.read().samples() == 0);
  CHECK_THROWS_AS(accumulator.add(logits, Tensor::from({3}, std::vector<std::int32_t>{0, 0, 0}), labels),
                  InvalidArgument);
}
