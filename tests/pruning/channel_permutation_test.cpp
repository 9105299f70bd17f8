// Orders of channels for N:M: the search against trying every order, the network's outputs against themselves.
#include "pruning/channel_permutation.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include "kernels/require.h"
#include "layers/layers.h"
#include "pruning/channel_groups.h"
#include "pruning/pruner.h"
#include "pruning/swap_search.h"
#include "tests/support/evaluated.h"
#include "tests/support/random_network.h"

namespace espalier::pruning {
namespace {

// What n of m keeps with the channels in this order, by sorting every run.
double kept_by_sorting(const std::vector<ReadMatrix>& readers, const std::vector<std::int64_t>& order, int n, int m) {
  double sum = 0;
  for (const ReadMatrix& reader : readers) {
    for (std::int64_t row = 0; row < reader.rows; ++row) {
      std::vector<float> columns;
      for (const std::int64_t channel : order) {
        const float* at = reader.channel(channel) + row * reader.width;
        columns.insert(columns.end(), at, at + reader.width);
      }
      for (std::size_t i = 0; i + std::size_t(m) <= columns.size(); i += std::size_t(m)) {
        std::sort(columns.begin() + std::ptrdiff_t(i), columns.begin() + std::ptrdiff_t(i) + m, std::greater<>());
        sum += std::accumulate(columns.begin() + std::ptrdiff_t(i), columns.begin() + std::ptrdiff_t(i) + n, 0.0);
      }
    }
  }
  return sum;
}

ReadMatrix random_matrix(std::int64_t channels, std::int64_t rows, std::int64_t width, std::mt19937& engine) {
  ReadMatrix matrix{.rows = rows, .width = width, .magnitude = {}};
  for (std::int64_t i = 0; i < channels * rows * width; ++i) matrix.magnitude.push_back(float(engine() % 1000) / 100);
  return matrix;
}

SwapOptions with(std::mt19937& engine, int n = 2, int m = 4) {
  return {.n = n, .m = m, .random = [&engine](std::uint32_t below) { return std::uint32_t(engine() % below); }};
}

TEST_CASE("swap search: what it says it keeps is what sorting finds, never less than before, and near the best order") {
  std::mt19937 engine(3);
  for (int round = 0; round < 6; ++round) {
    const std::vector<ReadMatrix> readers{random_matrix(8, 2, 1, engine)};
    const SwapResult found = best_order(readers, 8, with(engine));
    std::vector<std::int64_t> order(8);
    std::iota(order.begin(), order.end(), 0);
    CHECK(found.before == doctest::Approx(kept_by_sorting(readers, order, 2, 4)));
    CHECK(found.after == doctest::Approx(kept_by_sorting(readers, found.order, 2, 4)));
    CHECK(found.after >= found.before);
    double best = 0;
    do best = std::max(best, kept_by_sorting(readers, order, 2, 4));
    while (std::next_permutation(order.begin(), order.end()));
    CHECK(found.after >= 0.98 * best);
    CHECK(std::is_permutation(found.order.begin(), found.order.end(), order.begin()));
  }
}

TEST_CASE("swap search: channels of several columns, readers of different widths, tails, other n and m, short sight") {
  std::mt19937 engine(5);
  struct Case {
    std::int64_t channels;
    std::vector<std::int64_t> widths;
    int n, m;
  };
  for (const Case& one : {Case{13, {9}, 2, 4}, Case{12, {1, 9}, 2, 4}, Case{10, {2}, 1, 4}, Case{7, {25}, 2, 4},
                          Case{24, {3}, 2, 8}, Case{9, {4}, 2, 4}, Case{3, {1}, 2, 4}}) {
    std::vector<ReadMatrix> readers;
    for (const std::int64_t width : one.widths) readers.push_back(random_matrix(one.channels, 5, width, engine));
    SwapOptions options = with(engine, one.n, one.m);
    options.in_sight = 2;
    const SwapResult found = best_order(readers, one.channels, options);
    std::int64_t stripe = 1;
    for (const std::int64_t width : one.widths) stripe = std::lcm(stripe, one.m / std::gcd(width, std::int64_t(one.m)));
    std::vector<std::int64_t> whole = found.order;  // the channels of whole stripes
    whole.resize(std::size_t(one.channels - one.channels % stripe));
    CHECK(found.after == doctest::Approx(kept_by_sorting(readers, whole, one.n, one.m)));
    CHECK(found.after >= found.before);
    if (one.widths[0] % one.m == 0) CHECK(found.swaps == 0);
    if (one.widths[0] % one.m != 0 && one.channels > 4) CHECK(found.after > found.before);
  }
}

std::vector<float> outputs(Module& model, const Shape& input) {
  return test::evaluated(model, test::random_images(input));
}

void check_same(const std::vector<float>& before, const std::vector<float>& after) {
  float largest = 1e-6f;
  for (const float value : before) largest = std::max(largest, std::abs(value));
  for (std::size_t i = 0; i < before.size(); ++i) CHECK(std::abs(before[i] - after[i]) <= 2e-6f * largest);
}

TEST_CASE("permutation: networks of all kinds of layers compute the same afterwards") {
  for (unsigned seed = 1; seed <= 12; ++seed) {
    CAPTURE(seed);
    const auto model = test::RandomNetwork(seed).make();
    const auto before = outputs(*model, {2, 3, 12, 12});
    const auto found = permute_for_n_of_m(*model, {2, 3, 12, 12});
    for (const ChannelPermutation& each : found) CHECK(each.kept_after >= each.kept_before);
    check_same(before, outputs(*model, {2, 3, 12, 12}));
  }
}

double kept_magnitude(Module& model) {
  Pruner(model, {.pattern = n_of_m(2, 4), .scope = Scope::local, .ignore = {"dense_1.weight"}}).prune_to(0.5);
  double sum = 0;
  for (const Parameter* parameter : model.parameters()) {
    if (!parameter->mask()) continue;
    for (const float value : parameter->value.value().to_host()) sum += std::abs(double(value));
  }
  return sum;
}

TEST_CASE("permutation: 2:4 keeps more of the weights' magnitude, as much more as was said") {
  const auto net = [] {
    return Sequential(Dense(6, 32, {.seed = 1}), Relu(), Dense(32, 24, {.seed = 2}), Relu(), Dense(24, 8, {.seed = 3}));
  };
  Sequential plain = net(), permuted = net();
  const auto before = outputs(permuted, {3, 6});
  const auto found = permute_for_n_of_m(permuted, {3, 6});
  check_same(before, outputs(permuted, {3, 6}));
  REQUIRE(found.size() == 2);
  CHECK(found[0].group == "dense_1");
  double gained = 0;
  for (const ChannelPermutation& each : found) gained += each.kept_after - each.kept_before;
  CHECK(gained > 0);
  CHECK(kept_magnitude(permuted) - kept_magnitude(plain) == doctest::Approx(gained).epsilon(1e-3));
  CHECK(to_string(found).find("dense_1: 32 channels") != std::string::npos);
}

TEST_CASE("permutation: masks go along, the same seed finds the same, impossible requests are refused") {
  Sequential model(Dense(5, 16, {.seed = 4}), Relu(), Dense(16, 6, {.seed = 5})),
      again = Sequential(Dense(5, 16, {.seed = 4}), Relu(), Dense(16, 6, {.seed = 5}));
  for (Sequential* each : {&model, &again}) Pruner(*each, {.criterion = random(2)}).prune_to(0.4);
  const auto before = outputs(model, {2, 5});
  const auto first = permute_for_n_of_m(model, {2, 5}), second = permute_for_n_of_m(again, {2, 5});
  CHECK(first[0].order == second[0].order);
  check_same(before, outputs(model, {2, 5}));
  for (const Parameter* parameter : model.parameters()) {
    if (!parameter->mask()) continue;
    const auto keep = parameter->mask()->keep.to_host_as<std::uint8_t>();
    const auto values = parameter->value.value().to_host();
    for (std::size_t i = 0; i < keep.size(); ++i) CHECK((keep[i] != 0 || values[i] == 0.0f));
  }
  CHECK_THROWS_AS(permute_for_n_of_m(model, {2, 5}, {.n = 5}), InvalidArgument);
  CHECK_THROWS_AS(permute_for_n_of_m(model, {2, 5}, {.m = 64}), InvalidArgument);
  CHECK_THROWS_AS(permute_for_n_of_m(model, {2, 5}, {.in_sight = 0}), InvalidArgument);
}

}  // namespace
}  // namespace espalier::pruning
