// Optimal-brain-surgeon scores of runs of 32 weights against inverses by elimination in double.
#include "kernels/inverse_fisher.h"

#include <doctest/doctest.h>

#include "kernels/require.h"
#include "tests/support/close.h"
#include "tests/support/guarded_buffer.h"
#include "tests/support/reference/scores.h"

using namespace espalier;
using namespace espalier::kernels;
using namespace espalier::test;

TEST_CASE("inverse Fisher: rank-one updates give the scores of the whole inverse, with a shorter last run") {
  constexpr float kDamping = 0.05f;
  for (const std::size_t count : {1u, 31u, 32u, 33u, 100u, 257u}) {
    const std::vector<float> w = random_floats(count, 1);
    std::vector<std::vector<float>> gradients;
    for (unsigned sample = 0; sample < 9; ++sample) gradients.push_back(random_floats(count, 10 + sample));
    const GuardedBuffer<float> weight(w);
    GuardedBuffer<float> inverse(std::size_t(fisher_runs(index_t(count)) * kFisherRun * kFisherRun));
    GuardedBuffer<float> product(count), score(count);
    begin_inverse_fisher(index_t(count), kDamping, inverse.data(), nullptr);
    for (const auto& host : gradients) {
      const GuardedBuffer<float> gradient(host);
      add_to_inverse_fisher(index_t(count), index_t(gradients.size()), gradient.data(), product.data(), inverse.data(),
                            nullptr);
      product.download();  // waits, before the gradient goes
    }
    obs_scores(index_t(count), weight.data(), inverse.data(), score.data(), nullptr);
    CAPTURE(count);
    // Each of nine updates rounds entries of up to 1 / damping.
    CHECK(difference(score.download(), obs_reference(w, gradients, double(kDamping), 32), 2e-4, 1e-6) == "");
    CHECK((inverse.guards_intact() && product.guards_intact() && score.guards_intact()));
  }
}

TEST_CASE("inverse Fisher: damping of zero and a mean over no samples are refused") {
  CHECK_THROWS_AS(begin_inverse_fisher(4, 0.0f, nullptr, nullptr), InvalidArgument);
  CHECK_THROWS_AS(add_to_inverse_fisher(4, 0, nullptr, nullptr, nullptr, nullptr), InvalidArgument);
}
