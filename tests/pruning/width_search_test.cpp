// Widths for a time, on staircases that are known: the search must stop at their edges.
#include "pruning/width_search.h"

#include <doctest/doctest.h>

#include "kernels/require.h"
#include "layers/layers.h"
#include "pruning/channel_pruning.h"
#include "pruning/pruner.h"
#include "pruning/shrink.h"

namespace espalier::pruning {
namespace {

const Shape kInput{2, 6};

Sequential small_net() {
  return Sequential(Dense(6, 64, {.seed = 1}), Relu(), Dense(64, 48, {.seed = 2}), Relu(), Dense(48, 5, {.seed = 3}));
}

std::int64_t width_of(Module& model, std::size_t parameter) { return model.parameters()[parameter]->value.shape()[0]; }

// Tiles of 16 channels, 10 us each, and 5 us of everything else.
double tiles(Module& model) {
  const auto stairs = [](std::int64_t width) { return double((width + 15) / 16); };
  return 10 * stairs(width_of(model, 0)) * stairs(width_of(model, 2)) + 5;
}

WidthOptions on_tiles() { return {.granule = 8, .cost = tiles}; }

TEST_CASE("widths: the goal is met at edges of the stairs, and no earlier state met it") {
  Sequential model = small_net();
  const auto before = model.parameters()[0]->value.value().to_host();
  for (const double goal : {125.0, 95.0, 65.0, 45.0, 25.0}) {
    const WidthPlan found = widths_for_latency(model, kInput, {.latency_us = goal}, on_tiles());
    CHECK(found.dense_us == 125);
    CHECK(found.us <= goal);
    for (const auto& [group, width] : found.widths) CHECK(width % 16 == 0);
    for (std::size_t i = 0; i + 1 < found.steps.size(); ++i) CHECK(found.steps[i].cost > goal);
    if (goal == 125) CHECK(found.widths.empty());
  }
  CHECK(model.parameters()[0]->value.value().to_host() == before);
  CHECK(widths_for_latency(model, kInput, {.speedup = 125.0 / 65}, on_tiles()).us <= 65);
}

TEST_CASE("widths: the layer that suffers less goes first") {
  Sequential model = small_net();
  auto weights = model.parameters()[0]->value.value().to_host();
  for (std::size_t i = 0; i < 32 * 6; ++i) weights[i] *= 1e-3f;  // half of dense_1's channels hardly matter
  model.parameters()[0]->value.value().copy_from(Tensor::from({64, 6}, std::span<const float>(weights)));
  auto readers = model.parameters()[2]->value.value().to_host();
  for (std::size_t i = 0; i < readers.size(); ++i) readers[i] *= i % 64 < 32 ? 1e-3f : 1.0f;
  model.parameters()[2]->value.value().copy_from(Tensor::from({48, 64}, std::span<const float>(readers)));
  const WidthPlan found = widths_for_latency(model, kInput, {.latency_us = 65}, on_tiles());
  CHECK(found.widths == std::map<std::string, std::int64_t>{{"dense_1", 32}});
  CHECK(found.sparsity == doctest::Approx(32.0 / 112));
  CHECK(to_string(found).find("dense_1") != std::string::npos);

  Pruner pruner(model, {.pattern = channel_pattern(model, kInput, {.widths = found.widths})});
  pruner.prune_to(0.5 * found.sparsity);
  CHECK(width_of(*shrink(model, kInput).model, 0) == 48);
  pruner.prune_to(found.sparsity);
  const Shrunk small = shrink(model, kInput);
  CHECK(width_of(*small.model, 0) == 32);
  CHECK(width_of(*small.model, 2) == 48);
  CHECK(tiles(*small.model) == found.us);
}

TEST_CASE("widths: compiled plans are timed where no other time is given") {
  Sequential model(Dense(512, 768, {.seed = 1}), Relu(), Dense(768, 512, {.seed = 2}), Relu(), Dense(512, 10));
  WidthOptions options{.granule = 128};
  options.compile.candidates = {dense(Math::handwritten)};
  options.compile.gpu = &gpu_model("t4");
  const WidthPlan found = widths_for_latency(model, {256, 512}, {.speedup = 1.5}, options);
  CHECK(found.us <= found.dense_us / 1.5);
  CHECK(found.timing == "T4, modelled");
}

TEST_CASE("widths: what cannot be done is said") {
  Sequential model = small_net();
  const auto refused = [&](const LatencyGoal& goal, const WidthOptions& options) {
    CHECK_THROWS_AS(widths_for_latency(model, kInput, goal, options), InvalidArgument);
  };
  refused({.latency_us = 5}, on_tiles());
  refused({}, on_tiles());
  refused({.latency_us = -1}, on_tiles());
  refused({.latency_us = 65}, {.granule = 0, .cost = tiles});
  refused({.latency_us = 65}, {.granule = 64, .cost = tiles});
  refused({.latency_us = 65}, {.ignore = {"dense_9"}, .cost = tiles});
  for (const auto& [group, width] :
       {std::pair<const char*, std::int64_t>{"dense_9", 4}, {"dense_1", 65}, {"dense_1", 0}}) {
    CHECK_THROWS_AS(channel_pattern(model, kInput, {.widths = {{group, width}}}), InvalidArgument);
  }
}

}  // namespace
}  // namespace espalier::pruning
