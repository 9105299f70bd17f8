// Softmax, log-softmax and cross-entropy against plain loops in double: every team, odd rows, extreme logits.
#include "kernels/softmax.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <limits>

#include "kernels/require.h"
#include "tests/support/close.h"
#include "tests/support/guarded_buffer.h"
#include "tests/support/reference/softmax.h"

using namespace espalier;
using namespace espalier::kernels;
using namespace espalier::test;

namespace {

constexpr RowTeam kTeams[] = {RowTeam::automatic, RowTeam::thread, RowTeam::octet, RowTeam::warp, RowTeam::block};
constexpr MatrixShape kShapes[] = {{1, 1},  {128, 10}, {5, 2},   {17, 15},  {16, 16},  {15, 17}, {3, 31},
                                   {9, 32}, {7, 33},   {3, 255}, {2, 1000}, {3, 1025}, {2, 4099}};

// exp rounds its argument (|x| < 8: 4 units) and its result (2); a sum of positive terms has at most 4099 / 64 + 64
// additions in a row; divisions and the final products add a few.
constexpr double kTolerance = 150 * 0x1p-24;

// Small teams are for short rows; automatic covers the long ones.
bool suits(RowTeam team, const MatrixShape& shape) {
  return (team != RowTeam::octet && team != RowTeam::thread) || shape.columns <= 255;
}

std::vector<std::int32_t> random_labels(const MatrixShape& shape) {
  std::vector<std::int32_t> labels;
  for (float value : random_floats(std::size_t(shape.rows), 23, 0, 1)) {
    labels.push_back(std::int32_t(value * float(shape.columns)));
  }
  return labels;
}

struct LossBuffers {
  GuardedBuffer<float> loss{1}, dlogits;
  GuardedBuffer<double> loss_sum{std::vector<double>{0.25}};
  GuardedBuffer<std::int64_t> confusion;
  GuardedBuffer<unsigned> arrivals{std::vector<unsigned>{0}};
  GuardedBuffer<unsigned char> workspace;

  explicit LossBuffers(const MatrixShape& shape)
      : dlogits(std::size_t(shape.size())),
        confusion(std::vector<std::int64_t>(std::size_t(shape.columns * shape.columns), 7)),
        workspace(softmax_cross_entropy_workspace_bytes(shape)) {}
  SoftmaxCrossEntropyOutputs outputs() { return {loss.data(), dlogits.data(), loss_sum.data(), confusion.data()}; }
  bool guards_intact() const {
    return loss.guards_intact() && dlogits.guards_intact() && loss_sum.guards_intact() && confusion.guards_intact() &&
           arrivals.guards_intact() && workspace.guards_intact();
  }
};

// The counts of two calls on top of the sevens that were there.
std::vector<std::int64_t> confusion_reference(const MatrixShape& shape, const std::vector<float>& logits,
                                              const std::vector<std::int32_t>& labels) {
  std::vector<std::int64_t> counts(std::size_t(shape.columns * shape.columns), 7);
  for (index_t row = 0; row < shape.rows; ++row) {
    const auto first = logits.begin() + row * shape.columns;
    const index_t predicted = std::max_element(first, first + shape.columns) - first;
    counts[std::size_t(labels[std::size_t(row)] * shape.columns + predicted)] += 2;
  }
  return counts;
}

template <class Label>
void check_cross_entropy(const MatrixShape& shape, float smoothing, RowTeam team) {
  INFO("[", shape.rows, ", ", shape.columns, "], smoothing ", smoothing, ", team ", int(team));
  const std::vector<float> host = random_floats(std::size_t(shape.size()), 29, -4, 4);
  const std::vector<std::int32_t> labels = random_labels(shape);
  const CrossEntropyInDouble expected = cross_entropy_reference(shape, smoothing, host, labels);
  const GuardedBuffer<float> logits(host);
  const GuardedBuffer<Label> on_device(std::vector<Label>(labels.begin(), labels.end()));
  LossBuffers buffers(shape);
  for (unsigned* arrivals : {buffers.arrivals.data(), static_cast<unsigned*>(nullptr)}) {  // one launch, two launches
    softmax_cross_entropy(shape, smoothing, logits.data(), on_device.data(), buffers.outputs(),
                          buffers.workspace.data(), nullptr, arrivals, team);
  }
  CHECK(std::abs(buffers.loss.download()[0] - expected.loss) <= kTolerance * (1 + expected.loss));
  CHECK(difference(buffers.dlogits.download(), expected.dlogits, 0, kTolerance / double(shape.rows)) == "");
  CHECK(buffers.confusion.download() == confusion_reference(shape, host, labels));
  const double mean = (buffers.loss_sum.download()[0] - 0.25) / double(2 * shape.rows);
  CHECK(std::abs(mean - expected.loss) <= kTolerance * (1 + expected.loss));
  CHECK(buffers.arrivals.download()[0] == 0);
  CHECK(buffers.guards_intact());
}

}  // namespace

TEST_CASE("softmax and log_softmax: forward and backward equal plain loops in double, for every team and shape") {
  for (const MatrixShape& shape : kShapes) {
    const std::size_t size = std::size_t(shape.size());
    const std::vector<float> host = random_floats(size, 3, -4, 4), gradient = random_floats(size, 4);
    const SoftmaxInDouble expected = softmax_reference(shape, host);
    std::vector<double> log_probability, softmax_dx, log_softmax_dx;
    for (std::size_t row = 0; row < expected.log_sum.size(); ++row) {
      double product = 0, sum = 0;
      const std::size_t begin = row * std::size_t(shape.columns), end = begin + std::size_t(shape.columns);
      for (std::size_t i = begin; i < end; ++i) {
        product += gradient[i] * expected.probability[i];
        sum += gradient[i];
      }
      for (std::size_t i = begin; i < end; ++i) {
        log_probability.push_back(host[i] - expected.log_sum[row]);
        softmax_dx.push_back(expected.probability[i] * (gradient[i] - product));
        log_softmax_dx.push_back(gradient[i] - expected.probability[i] * sum);
      }
    }
    const GuardedBuffer<float> x(host), dy(gradient);
    for (RowTeam team : kTeams) {
      if (!suits(team, shape)) continue;
      INFO("[", shape.rows, ", ", shape.columns, "], team ", int(team));
      GuardedBuffer<float> y(size), dx(size);
      softmax_forward(shape, x.data(), y.data(), nullptr, team);
      softmax_backward(shape, y.data(), dy.data(), dx.data(), nullptr, team);
      CHECK(difference(y.download(), expected.probability, kTolerance, 0) == "");
      CHECK(difference(dx.download(), softmax_dx, kTolerance, kTolerance) == "");
      log_softmax_forward(shape, x.data(), y.data(), nullptr, team);
      log_softmax_backward(shape, y.data(), dy.data(), dx.data(), nullptr, team);
      CHECK(difference(y.download(), log_probability, kTolerance, kTolerance) == "");
      CHECK(difference(dx.download(), log_softmax_dx, kTolerance, kTolerance) == "");
      CHECK(y.guards_intact());
      CHECK(dx.guards_intact());
    }
  }
}

TEST_CASE("softmax_cross_entropy: loss, gradient and counts equal plain loops in double") {
  for (const MatrixShape& shape : kShapes) {
    for (RowTeam team : kTeams) {
      if (!suits(team, shape)) continue;
      check_cross_entropy<std::int32_t>(shape, 0.0f, team);
      check_cross_entropy<std::int32_t>(shape, 0.1f, team);
      if (shape.columns <= 256) check_cross_entropy<std::uint8_t>(shape, 0.1f, team);
    }
  }
}

TEST_CASE("softmax_cross_entropy: huge logits neither overflow nor lose the gradient") {
  const MatrixShape shape{2, 3};
  const GuardedBuffer<float> logits(std::vector<float>{1e30f, 0, -1e30f, 3e4f, 3e4f, 0});
  const GuardedBuffer<std::int32_t> labels(std::vector<std::int32_t>{0, 1});
  LossBuffers buffers(shape);
  softmax_cross_entropy(shape, 0, logits.data(), labels.data(), buffers.outputs(), buffers.workspace.data(), nullptr);
  CHECK(buffers.loss.download()[0] == doctest::Approx(std::log(2.0) / 2));
  CHECK(difference(buffers.dlogits.download(), std::vector<double>{0, 0, 0, 0.25, -0.25, 0}, 0, 1e-7) == "");
  // Of two equal maxima the first is the prediction.
  CHECK(buffers.confusion.download() == std::vector<std::int64_t>{8, 7, 7, 8, 7, 7, 7, 7, 7});
}

TEST_CASE("softmax_cross_entropy: a label out of range gives NaN, and only in its row") {
  const MatrixShape shape{3, 4};
  const GuardedBuffer<float> logits(random_floats(12, 1));
  for (std::int32_t wrong :
       {4, -1, std::numeric_limits<std::int32_t>::min(), std::numeric_limits<std::int32_t>::max()}) {
    const GuardedBuffer<std::int32_t> labels(std::vector<std::int32_t>{1, wrong, 2});
    for (RowTeam team : kTeams) {
      LossBuffers buffers(shape);
      softmax_cross_entropy(shape, 0.1f, logits.data(), labels.data(), buffers.outputs(), buffers.workspace.data(),
                            nullptr, buffers.arrivals.data(), team);
      CHECK(buffers.confusion.download()[0] == 7);
      CHECK(std::isnan(buffers.loss.download()[0]));
      const std::vector<float> dlogits = buffers.dlogits.download();
      for (std::size_t i = 0; i < 12; ++i) CHECK(std::isnan(dlogits[i]) == (i / 4 == 1));
      CHECK(buffers.guards_intact());
    }
  }
}

TEST_CASE("softmax_cross_entropy: without gradient and sums gives the same loss") {
  const MatrixShape shape{33, 10};
  const GuardedBuffer<float> logits(random_floats(330, 1));
  const GuardedBuffer<std::int32_t> labels(random_labels(shape));
  LossBuffers with(shape), without(shape);
  softmax_cross_entropy(shape, 0, logits.data(), labels.data(), with.outputs(), with.workspace.data(), nullptr);
  softmax_cross_entropy(shape, 0, logits.data(), labels.data(), {.loss = without.loss.data()}, without.workspace.data(),
                        nullptr);
  CHECK(with.loss.download() == without.loss.download());
}

TEST_CASE("softmax_cross_entropy: says what is wrong with an empty batch") {
  CHECK_THROWS_AS(
      softmax_cross_entropy({0, 10}, 0, nullptr, static_cast<const std::uint8_t*>(nullptr), {}, nullptr, nullptr),
      InvalidArgument);
}
