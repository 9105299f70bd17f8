// The k highest scores against a stable sort, over one and many tensors; counts and fingerprints of masks.
#include "kernels/mask.h"

#include <doctest/doctest.h>

#include <limits>
#include <set>

#include "kernels/require.h"
#include "tests/support/close.h"
#include "tests/support/guarded_buffer.h"
#include "tests/support/reference/mask.h"

using namespace espalier;
using namespace espalier::kernels;
using namespace espalier::test;

namespace {

constexpr RowTeam kTeams[] = {RowTeam::automatic, RowTeam::thread, RowTeam::block};

// The choice over `scores` cut into tensors of these sizes, as one mask; "guard" breaks show as an empty one.
std::vector<std::uint8_t> keep_highest_of(const std::vector<float>& scores, const std::vector<std::size_t>& sizes,
                                          std::size_t kept, RowTeam team) {
  std::vector<GuardedBuffer<float>> score;
  std::vector<GuardedBuffer<std::uint8_t>> keep;
  std::vector<ScoredTensor> tensors;
  auto at = scores.begin();
  for (std::size_t size : sizes) {
    score.emplace_back(std::vector<float>(at, at + std::ptrdiff_t(size)));
    keep.emplace_back(size);
    at += std::ptrdiff_t(size);
  }
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    tensors.push_back({score[i].data(), keep[i].data(), index_t(sizes[i])});
  }
  GuardedBuffer<unsigned char> workspace(keep_highest_workspace_bytes(tensors));
  keep_highest(tensors, index_t(kept), workspace.data(), nullptr, team);
  std::vector<std::uint8_t> all;
  bool intact = workspace.guards_intact();
  for (const auto& mask : keep) {
    const std::vector<std::uint8_t> host = mask.download();
    all.insert(all.end(), host.begin(), host.end());
    intact = intact && mask.guards_intact();
  }
  return intact ? all : std::vector<std::uint8_t>();
}

void check_every_k(const std::vector<float>& scores, const std::vector<std::size_t>& sizes) {
  const std::size_t n = scores.size();
  for (std::size_t kept : std::set<std::size_t>{0, 1, n / 10, n / 3, n / 2, n - 1, n}) {
    if (kept > n) continue;
    for (RowTeam team : kTeams) {
      INFO(kept, " of ", n, ", team ", int(team));
      CHECK(keep_highest_of(scores, sizes, kept, team) == keep_highest_reference(scores, kept));
    }
  }
}

}  // namespace

TEST_CASE("keep_highest: keeps exactly the k highest of one tensor of any size") {
  for (std::size_t size : {1u, 2u, 31u, 257u, 2047u, 2048u, 2049u, 8193u, 20011u}) {
    check_every_k(random_floats(size, unsigned(size)), {size});
  }
}

TEST_CASE("keep_highest: breaks ties by tensor and index, so exactly k survive") {
  for (float levels : {0.0f, 1.0f, 3.0f}) {  // all equal, three values, seven values
    std::vector<float> scores = random_floats(9001, 5);
    for (float& score : scores) score = std::round(score * levels);
    check_every_k(scores, {9001});
    check_every_k(scores, {3000, 1, 0, 4096, 1904});
  }
}

TEST_CASE("keep_highest: ranks over all tensors together, however many") {
  std::vector<std::size_t> sizes;
  std::size_t total = 0;
  for (std::size_t i = 0; i < 130; ++i) {
    sizes.push_back(i % 11 == 4 ? 0 : 1 + i * 7 % 90);
    total += sizes.back();
  }
  check_every_k(random_floats(total, 3), sizes);
}

TEST_CASE("keep_highest: orders negative, tiny, infinite and NaN scores") {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const std::vector<float> scores = {0.0f,      -0.0f,          1e-45f,     -1e-45f, 1e-38f, -kInfinity,
                                     kInfinity, std::nanf(""),  -kInfinity, 3e38f,   -3e38f, 1.0f,
                                     -1.0f,     -std::nanf(""), 0.0f,       1.0f};
  for (std::size_t kept = 0; kept <= scores.size(); ++kept) {
    for (RowTeam team : kTeams) {
      CHECK(keep_highest_of(scores, {scores.size()}, kept, team) == keep_highest_reference(scores, kept));
    }
  }
}

TEST_CASE("keep_highest: refuses to keep more than there are") {
  const ScoredTensor none;
  CHECK_THROWS_AS(keep_highest(std::span(&none, 1), 1, nullptr, nullptr), InvalidArgument);
  CHECK_NOTHROW(keep_highest(std::span(&none, 1), 0, nullptr, nullptr));
}

TEST_CASE("magnitude_scores: the absolute value, bit for bit") {
  for (std::size_t size : {1u, 37u, 8193u}) {
    const std::vector<float> host = random_floats(size, 9);
    const GuardedBuffer<float> weight(host);
    GuardedBuffer<float> score(size);
    magnitude_scores(index_t(size), weight.data(), score.data(), nullptr);
    const std::vector<float> scores = score.download();
    for (std::size_t i = 0; i < size; ++i) REQUIRE(scores[i] == std::abs(host[i]));
    CHECK(score.guards_intact());
  }
}

TEST_CASE("count_kept: counts each tensor, empty ones too") {
  std::vector<GuardedBuffer<std::uint8_t>> keep;
  std::vector<MaskedTensor> tensors;
  std::vector<std::int64_t> expected;
  for (std::size_t size : {0u, 1u, 37u, 2048u, 2049u, 8193u, 0u, 20011u}) {
    std::vector<std::uint8_t> host;
    for (float value : random_floats(size, unsigned(size))) host.push_back(value > 0.3f ? 1 : 0);
    expected.push_back(std::count(host.begin(), host.end(), 1));
    keep.emplace_back(host);
    tensors.push_back({nullptr, index_t(size)});
  }
  for (std::size_t i = 0; i < keep.size(); ++i) tensors[i].keep = keep[i].data();
  GuardedBuffer<std::int64_t> kept(keep.size());
  count_kept(tensors, kept.data(), nullptr);
  CHECK(kept.download() == expected);
  CHECK(kept.guards_intact());
}

TEST_CASE("hash_mask: equal masks agree, any change of bit or size shows") {
  GuardedBuffer<std::uint64_t> hash(1);
  const auto hash_of = [&](const std::vector<std::uint8_t>& host) {
    const GuardedBuffer<std::uint8_t> keep(host);
    hash_mask(index_t(host.size()), keep.data(), hash.data(), nullptr);
    return hash.download()[0];
  };
  std::vector<std::uint8_t> mask(5000, 0);
  for (std::size_t i = 0; i < mask.size(); i += 3) mask[i] = 1;
  std::set<std::uint64_t> seen = {hash_of(mask)};
  CHECK(hash_of(mask) == *seen.begin());
  for (std::size_t i : {0u, 1u, 2047u, 2048u, 4999u}) {
    mask[i] ^= 1;
    CHECK(seen.insert(hash_of(mask)).second);
  }
  for (std::size_t size : {1u, 4999u, 5001u}) CHECK(seen.insert(hash_of(std::vector<std::uint8_t>(size, 0))).second);
  CHECK(hash.guards_intact());
}

TEST_CASE("pack_keep: a bit for each byte, zeros behind the last") {
  for (const std::size_t count : {1, 31, 32, 33, 257, 4099}) {
    std::vector<std::uint8_t> keep;
    for (const float value : random_floats(count, unsigned(count))) keep.push_back(value > 0 ? 1 : 0);
    const GuardedBuffer<std::uint8_t> bytes(keep);
    GuardedBuffer<std::uint32_t> bits{std::size_t(mask_words(index_t(count)))};
    pack_keep(index_t(count), bytes.data(), bits.data(), nullptr);
    std::vector<std::uint32_t> expected(bits.size());
    for (std::size_t i = 0; i < count; ++i) expected[i / 32] |= std::uint32_t(keep[i]) << (i % 32);
    CHECK(bits.download() == expected);
    CHECK(bits.guards_intact());
  }
}
