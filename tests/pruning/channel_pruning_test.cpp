#include "pruning/channel_pruning.h"

#include <doctest/doctest.h>

#include <cmath>

#include "kernels/require.h"
#include "layers/layers.h"
#include "pruning/pruner.h"
#include "tests/support/close.h"

namespace espalier::pruning {
namespace {

const Shape kInput{1, 1, 8, 8};

Sequential small_cnn() {
  return Sequential(Conv2d(1, 8, {.seed = 1}), Relu(), Conv2d(8, 12, {.seed = 2}), Relu(), Flatten(),
                    Dense(12 * 16, 5, {.seed = 3}));
}

std::vector<bool> living_rows(Module& model, std::size_t of) {
  const Parameter& parameter = *model.parameters()[of];
  const auto keep = parameter.mask()->keep.to_host_as<std::uint8_t>();
  const std::size_t rows = std::size_t(parameter.value.shape()[0]), per_row = keep.size() / rows;
  std::vector<bool> lives;
  for (std::size_t row = 0; row < rows; ++row) {
    for (std::size_t i = 0; i < per_row; ++i) CHECK(keep[row * per_row + i] == keep[row * per_row]);
    lives.push_back(keep[row * per_row] != 0);
  }
  return lives;
}

std::size_t living(Module& model, std::size_t of) {
  const auto rows = living_rows(model, of);
  return std::size_t(std::count(rows.begin(), rows.end(), true));
}

TEST_CASE("channel pattern: each layer loses its channels of least norm, weights of their readers counted") {
  Sequential model = small_cnn();
  const auto first = model.parameters()[0]->value.value().to_host(),
             second = model.parameters()[2]->value.value().to_host();
  std::vector<std::pair<double, std::size_t>> norms;
  for (std::size_t channel = 0; channel < 8; ++channel) {
    double sum = 0;
    for (std::size_t tap = 0; tap < 9; ++tap) {
      sum += std::pow(double(first[channel * 9 + tap]), 2);
      for (std::size_t filter = 0; filter < 12; ++filter)
        sum += std::pow(double(second[(filter * 8 + channel) * 9 + tap]), 2);
    }
    norms.emplace_back(sum, channel);
  }
  std::sort(norms.begin(), norms.end());
  Pruner(model, {.pattern = channel_pattern(model, kInput)}).prune_to(0.5);
  const auto rows = living_rows(model, 0);
  for (std::size_t i = 0; i < 8; ++i) CHECK(rows[norms[i].second] == (i >= 4));
  CHECK(living(model, 2) == 6);
  CHECK(living(model, 4) == 5);  // the output
}

TEST_CASE("channel pattern: what was pruned stays pruned, layers keep their floor") {
  Sequential model = small_cnn();
  Pruner pruner(model, {.pattern = channel_pattern(model, kInput), .min_density = 0.25});
  pruner.prune_to(0.25);
  const auto before = living_rows(model, 2);
  pruner.prune_to(0.5);
  const auto after = living_rows(model, 2);
  for (std::size_t i = 0; i < after.size(); ++i) CHECK(int(after[i]) <= int(before[i]));
  pruner.prune_to(0.99);
  CHECK(living(model, 0) == 2);
  CHECK(living(model, 2) == 3);
}

TEST_CASE("channel pattern: a target of multiply-adds is met by the fewest channels") {
  for (const ChannelContest contest : {ChannelContest::each_layer, ChannelContest::all_layers}) {
    Sequential model = small_cnn();
    const ChannelOptions options{.norm = ChannelNorm::l1, .contest = contest, .target = ChannelTarget::macs};
    Pruner(model, {.pattern = channel_pattern(model, kInput, options)}).prune_to(0.5);
    const auto work = [](std::size_t a, std::size_t b) { return double(a * 9 * 36 + a * b * 9 * 16 + b * 16 * 5); };
    CHECK(work(living(model, 0), living(model, 2)) <= 0.5 * work(8, 12));
    CHECK(work(living(model, 0) + 1, living(model, 2) + 1) > 0.5 * work(8, 12));
  }
  Sequential model = small_cnn();
  Pruner extreme(model,
                 {.pattern = channel_pattern(model, kInput, {.target = ChannelTarget::macs}), .min_density = 0.5});
  CHECK_THROWS_AS(extreme.prune_to(0.9), InvalidArgument);
}

// What shrinking leaves, counted from the widths.
struct Widths {
  std::size_t a, b;
  double params() const { return double(a * 9 + a + a * b * 9 + b + b * 16 * 5 + 5); }
  double weights() const { return double(a * 9 + a * b * 9 + b * 16 * 5); }
};

TEST_CASE("channel pattern: parameters, weights and bytes to be left are met by what shrinking would leave") {
  using Unit = Target::Unit;
  for (const Target target : {Target{Unit::params, 0.4}, Target{Unit::sparsity, 0.6}, Target{Unit::bytes, 4000},
                              Target{Unit::macs, 0.5}, Target{Unit::channels, 10}}) {
    Sequential model = small_cnn();
    const ChannelBudget budget = channel_budget(model, kInput, target);
    Pruner(model, {.pattern = channel_pattern(model, kInput, {.target = budget.target})}).prune_to(budget.sparsity);
    const Widths all{8, 12}, left{living(model, 0), living(model, 2)};
    CAPTURE(to_string(target.unit));
    if (target.unit == Unit::params) CHECK(left.params() <= 0.4 * all.params());
    if (target.unit == Unit::params) CHECK(left.params() > 0.3 * all.params());
    if (target.unit == Unit::sparsity) CHECK(left.weights() <= 0.4 * all.weights());
    if (target.unit == Unit::bytes) CHECK(left.params() <= 1000);
    if (target.unit == Unit::bytes) CHECK(left.params() > 800);
    if (target.unit == Unit::channels) CHECK(left.a + left.b == 10);
  }
  Sequential model = small_cnn();
  for (const Target wrong : {Target{Unit::threshold, 0.1}, Target{Unit::params, 1e9}, Target{Unit::macs, 0.0}}) {
    CHECK_THROWS_AS(channel_budget(model, kInput, wrong), InvalidArgument);
  }
}

TEST_CASE("channel pattern: batch-norm scales decide in place of scores, for what a norm scales") {
  Sequential model(Conv2d(1, 6, {.seed = 1}), BatchNorm2d(6), Relu(), Conv2d(6, 4, {.seed = 2}), Relu(), Flatten(),
                   Dense(4 * 16, 3, {.seed = 3}));
  const float gamma[] = {0.5f, -0.1f, 0.0f, 0.9f, -0.7f, 0.2f};
  model.parameters()[2]->value.value().copy_from(Tensor::from({6}, std::span<const float>(gamma)));
  const ChannelOptions options{.norm = ChannelNorm::norm_scale};
  Pruner(model, {.pattern = channel_pattern(model, kInput, options)}).prune_to(0.5);
  CHECK(living_rows(model, 0) == std::vector<bool>{true, false, false, true, true, false});
  CHECK(living(model, 4) == 4);  // no norm scales it
  Sequential without = small_cnn();
  CHECK_THROWS_AS(channel_pattern(without, kInput, options), InvalidArgument);
}

TEST_CASE("channel pattern: groups may be ignored; what cannot be done is said") {
  Sequential model = small_cnn();
  Pruner(model, {.pattern = channel_pattern(model, kInput, {.ignore = {"conv2d_1"}})}).prune_to(0.5);
  CHECK(living(model, 0) == 8);
  CHECK(living(model, 2) == 6);
  CHECK_THROWS_AS(channel_pattern(model, kInput, {.ignore = {"conv2d_7"}}), InvalidArgument);
  Sequential one_layer(Dense(3, 2));
  CHECK_THROWS_AS(channel_pattern(one_layer, {1, 3}), InvalidArgument);
  CHECK_THROWS_AS(Pruner(model, {.pattern = channel_pattern(model, kInput), .scope = Scope::local}).prune_to(0.5),
                  InvalidArgument);
  const Criterion broken = [](const Parameter& of) { return Tensor::full(of.value.shape(), NAN); };
  CHECK_THROWS_AS(Pruner(model, {.criterion = broken, .pattern = channel_pattern(model, kInput)}).prune_to(0.5),
                  InvalidArgument);
}

}  // namespace
}  // namespace espalier::pruning
