// Layer-adaptive scores against the sum over all pairs in double: ties, zeros, one score, sizes around a power of two.
#include "kernels/lamp.h"

#include <doctest/doctest.h>

#include "tests/support/close.h"
#include "tests/support/guarded_buffer.h"
#include "tests/support/reference/scores.h"

using namespace espalier;
using namespace espalier::kernels;
using namespace espalier::test;

TEST_CASE("lamp_scores: each square over the sum of the squares that are not smaller") {
  for (const std::size_t count : {1u, 2u, 3u, 7u, 255u, 256u, 257u, 1023u, 1025u, 2500u}) {
    std::vector<float> host = random_floats(count, unsigned(count), 0, 1);
    for (std::size_t i = 0; i < count; i += 5) host[i] = i % 2 ? 0.0f : 0.5f;  // pruned ones and ties
    const GuardedBuffer<float> score(host);
    GuardedBuffer<float> lamp(count);
    GuardedBuffer<unsigned char> workspace(lamp_scores_workspace_bytes(index_t(count)));
    lamp_scores(index_t(count), score.data(), lamp.data(), workspace.data(), nullptr);
    CHECK(difference(lamp.download(), lamp_reference(host), 1e-6, 1e-12) == "");
    CHECK((lamp.guards_intact() && workspace.guards_intact() && score.download() == host));
  }
}

TEST_CASE("lamp_scores: the highest scores one, and a layer of zeros scores zero") {
  const GuardedBuffer<float> score(std::vector<float>{0.1f, 3.0f, 2.0f}), zeros(std::vector<float>(3, 0.0f));
  GuardedBuffer<float> lamp(3);
  GuardedBuffer<unsigned char> workspace(lamp_scores_workspace_bytes(3));
  lamp_scores(3, score.data(), lamp.data(), workspace.data(), nullptr);
  CHECK(lamp.download()[1] == 1.0f);
  lamp_scores(3, zeros.data(), lamp.data(), workspace.data(), nullptr);
  CHECK(lamp.download() == std::vector<float>(3, 0.0f));
}
