// Element-wise parts of pruning scores against the same expressions in double.
#include "kernels/scores.h"

#include <doctest/doctest.h>

#include "tests/support/close.h"
#include "tests/support/guarded_buffer.h"
#include "tests/support/sizes.h"

using namespace espalier;
using namespace espalier::kernels;
using namespace espalier::test;

TEST_CASE("accumulate_gradient: adds to each sum that is kept, and to no other") {
  for (const index_t count : element_counts()) {
    const std::vector<float> g = random_floats(std::size_t(count), 1), start = random_floats(std::size_t(count), 2);
    const GuardedBuffer<float> gradient(g);
    GuardedBuffer<float> sum(start), magnitudes(start), squares(start);
    accumulate_gradient(count, gradient.data(), {sum.data(), magnitudes.data(), squares.data()}, nullptr);
    accumulate_gradient(count, gradient.data(), {.sum = sum.data()}, nullptr);
    std::vector<double> sums, of_magnitudes, of_squares;
    for (std::size_t i = 0; i < g.size(); ++i) {
      sums.push_back(double(start[i]) + 2 * double(g[i]));
      of_magnitudes.push_back(double(start[i]) + std::abs(double(g[i])));
      of_squares.push_back(double(start[i]) + double(g[i]) * double(g[i]));
    }
    CHECK(difference(sum.download(), sums, 1e-6, 3e-7) == "");
    CHECK(difference(magnitudes.download(), of_magnitudes, 1e-6, 3e-7) == "");
    CHECK(difference(squares.download(), of_squares, 1e-6, 3e-7) == "");
    CHECK((sum.guards_intact() && magnitudes.guards_intact() && squares.guards_intact()));
  }
}

TEST_CASE("pair_scores: product, magnitude and square of a weight and a statistic") {
  for (const index_t count : element_counts()) {
    const std::vector<float> a = random_floats(std::size_t(count), 3), b = random_floats(std::size_t(count), 4);
    const GuardedBuffer<float> first(a), second(b);
    GuardedBuffer<float> score(a.size());
    std::vector<double> product, magnitude, square;
    for (std::size_t i = 0; i < a.size(); ++i) {
      product.push_back(0.5 * double(a[i]) * double(b[i]));
      magnitude.push_back(std::abs(product.back()));
      square.push_back(product.back() * double(a[i]));
    }
    const auto scores = [&](ScoreForm form) {
      pair_scores(count, form, 0.5f, first.data(), second.data(), score.data(), nullptr);
      return score.download();
    };
    CHECK(difference(scores(ScoreForm::product), product, 1e-6, 1e-12) == "");
    CHECK(difference(scores(ScoreForm::magnitude), magnitude, 1e-6, 1e-12) == "");
    CHECK(difference(scores(ScoreForm::square), square, 1e-6, 1e-12) == "");
    CHECK(score.guards_intact());
  }
}

TEST_CASE("accumulate_movement: takes the gradient times the weight it was taken at") {
  for (const index_t count : element_counts()) {
    const std::size_t n = std::size_t(count);
    const std::vector<float> g = random_floats(n, 5), w = random_floats(n, 6), before = random_floats(n, 7);
    const GuardedBuffer<float> gradient(g), weight(w);
    GuardedBuffer<float> last(before), score(std::vector<float>(n, 0.25f));
    accumulate_movement(count, gradient.data(), weight.data(), last.data(), score.data(), nullptr);
    std::vector<double> expected;
    for (std::size_t i = 0; i < n; ++i) expected.push_back(0.25 - double(g[i]) * double(before[i]));
    CHECK(difference(score.download(), expected, 1e-6, 2e-7) == "");
    CHECK(last.download() == w);
    CHECK((last.guards_intact() && score.guards_intact()));
  }
}

TEST_CASE("indicate_nonzero: one for every nonzero, in place too") {
  for (const index_t count : element_counts()) {
    std::vector<float> x = random_floats(std::size_t(count), 8);
    for (std::size_t i = 0; i < x.size(); i += 3) x[i] = i % 2 ? 0.0f : -0.0f;
    GuardedBuffer<float> values(x);
    indicate_nonzero(count, values.data(), values.data(), nullptr);
    const std::vector<float> found = values.download();
    bool right = true;
    for (std::size_t i = 0; i < x.size(); ++i) right = right && found[i] == (x[i] != 0.0f ? 1.0f : 0.0f);
    CHECK(right);
    CHECK(values.guards_intact());
  }
}
