// Masks made of masks and scores, element by element.
#include "kernels/keep.h"

#include <doctest/doctest.h>

#include <limits>

#include "tests/support/close.h"
#include "tests/support/guarded_buffer.h"
#include "tests/support/sizes.h"

using namespace espalier;
using namespace espalier::kernels;
using namespace espalier::test;

namespace {

std::vector<std::uint8_t> random_keep(std::size_t count, unsigned seed) {
  std::vector<std::uint8_t> keep;
  for (const float value : random_floats(count, seed)) keep.push_back(value > 0 ? 1 : 0);
  return keep;
}

}  // namespace

TEST_CASE("intersect_keep, keep_at_least, exalt_kept: element by element") {
  for (const index_t count : element_counts()) {
    const std::size_t n = std::size_t(count);
    const std::vector<std::uint8_t> a = random_keep(n, 1), b = random_keep(n, 2);
    std::vector<float> x = random_floats(n, 3);
    if (n > 2) x[2] = std::nanf("");
    const GuardedBuffer<std::uint8_t> first(a);
    const GuardedBuffer<float> score(x);
    GuardedBuffer<std::uint8_t> both(b), above(n);
    GuardedBuffer<float> exalted(x);
    intersect_keep(count, first.data(), both.data(), nullptr);
    keep_at_least(count, 0.25f, score.data(), above.data(), nullptr);
    exalt_kept(count, first.data(), exalted.data(), nullptr);
    const auto kept = both.download(), high = above.download();
    const auto raised = exalted.download();
    bool right = true;
    for (std::size_t i = 0; i < n; ++i) {
      right = right && kept[i] == (a[i] && b[i]) && high[i] == (x[i] >= 0.25f);
      right = right && (a[i] ? raised[i] == std::numeric_limits<float>::infinity()
                             : raised[i] == x[i] || (std::isnan(raised[i]) && std::isnan(x[i])));
    }
    CHECK(right);
    CHECK((both.guards_intact() && above.guards_intact() && exalted.guards_intact()));
  }
}

TEST_CASE("shadows: pruned weights take gradient steps unseen, and step out with the value they have reached") {
  for (const index_t count : element_counts()) {
    const std::size_t n = std::size_t(count);
    const std::vector<std::uint8_t> before = random_keep(n, 4), after = random_keep(n, 5);
    const std::vector<float> w = random_floats(n, 6), g = random_floats(n, 7), s = random_floats(n, 8);
    const GuardedBuffer<std::uint8_t> old_keep(before), new_keep(after);
    const GuardedBuffer<float> gradient(g);
    GuardedBuffer<float> weight(w), shadow(s), score(n);
    follow_in_shadow(count, old_keep.data(), weight.data(), gradient.data(), 0.5f, shadow.data(), nullptr);
    splicing_scores(count, old_keep.data(), 2.0f, shadow.data(), score.data(), nullptr);
    step_out_of_shadow(count, old_keep.data(), new_keep.data(), shadow.data(), weight.data(), nullptr);
    std::vector<double> shadows, scores, weights;
    for (std::size_t i = 0; i < n; ++i) {
      shadows.push_back(before[i] ? double(w[i]) : double(s[i]) - 0.5 * double(g[i]));
      scores.push_back(std::abs(shadows[i]) * (before[i] ? 2 : 1));
      weights.push_back(after[i] && !before[i] ? shadows[i] : double(w[i]));
    }
    CHECK(difference(shadow.download(), shadows, 1e-6, 1e-7) == "");
    CHECK(difference(score.download(), scores, 1e-6, 1e-7) == "");
    CHECK(difference(weight.download(), weights, 1e-6, 1e-7) == "");
    CHECK((shadow.guards_intact() && score.guards_intact() && weight.guards_intact()));
  }
}
