// Growing penalties and ADMM: what will fall is nearly zero when it falls, what stays is not, and both are refused what
// cannot be.
#include "pruning/preparation.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "kernels/require.h"
#include "pruning/pruner.h"
#include "pruning/weights.h"
#include "tests/support/small_run.h"

namespace espalier::pruning {
namespace {

struct Norms {
  double falls = 0, stays = 0;  // of the weights just before the masks, by what the masks then say
};

// Two epochs, prepared from the second update on; the removal follows the last of them.
Norms norms_at_removal(const PreparationOptions& preparation) {
  const data::ImageData data = test::small_data();
  Sequential model = test::small_model();
  DataLoader loader(data.train, {.batch = 14, .seed = 7});
  Sgd optimizer(model.parameters(), {.learning_rate = 0.05f});
  Pruner pruner(model, {.schedule = one_shot(0.6, 1), .preparation = preparation});
  std::vector<std::vector<float>> before;
  Trainer trainer(classifier(model), optimizer, loader,
                  {.epochs = 5,
                   .after_update = [&] { pruner.prepare(optimizer.rate_on_device()); },
                   .after_step =
                       [&](std::int64_t) {
                         std::vector<std::vector<float>> now;
                         for (const Parameter* one : pruner.parameters()) now.push_back(one->value.value().to_host());
                         if (pruner.step()) before = now;
                       },
                   .progress = Progress::none});
  trainer.run();
  REQUIRE(before.size() == pruner.parameters().size());
  Norms norms;
  for (std::size_t i = 0; i < before.size(); ++i) {
    const auto keep = pruner.parameters()[i]->mask()->keep.to_host_as<std::uint8_t>();
    for (std::size_t j = 0; j < keep.size(); ++j) {
      (keep[j] ? norms.stays : norms.falls) += double(before[i][j]) * double(before[i][j]);
    }
  }
  return {std::sqrt(norms.falls), std::sqrt(norms.stays)};
}

}  // namespace

TEST_CASE("preparation: what falls has almost nothing left, as it has without") {
  constexpr int kSteps = 20;
  const Norms abrupt = norms_at_removal({.strength = 1e-6f, .steps = kSteps, .every = 2});
  const Norms growing = norms_at_removal({.strength = 100.0f, .steps = kSteps, .every = 2});
  const Norms admm = norms_at_removal({.kind = PreparationKind::admm, .strength = 40.0f, .steps = kSteps, .every = 2});
  CHECK(abrupt.falls > 0.1 * abrupt.stays);
  CHECK(growing.falls < 0.05 * abrupt.falls);  // not zero: each step adds its gradient
  CHECK(admm.falls < 0.3 * abrupt.falls);
  CHECK(growing.stays > 0.5 * abrupt.stays);
  CHECK(admm.stays > 0.5 * abrupt.stays);
}

TEST_CASE("preparation: a choice that fails leaves the model its own weights") {
  Sequential model = test::small_model();
  const Criterion fails = [](const Parameter&) -> Tensor { throw InvalidArgument("no scores"); };
  Pruner pruner(model, {.criterion = fails,
                        .schedule = one_shot(0.5, 0),
                        .preparation = PreparationOptions{.kind = PreparationKind::admm, .steps = 4, .every = 2}});
  const void* const own = pruner.parameters()[0]->value.value().raw();
  CHECK_THROWS_WITH_AS(pruner.step(), "no scores", InvalidArgument);
  CHECK(pruner.parameters()[0]->value.value().raw() == own);
}

TEST_CASE("preparation: what cannot be is refused") {
  Sequential model = test::small_model();
  const std::vector<Parameter*> weights = weights_of(model);
  CHECK_THROWS_AS(Preparation(weights, {.strength = 0.0f}), InvalidArgument);
  CHECK_THROWS_AS(Preparation(weights, {.strength = NAN}), InvalidArgument);
  CHECK_THROWS_AS(Preparation(weights, {.steps = 10, .every = 11}), InvalidArgument);
  CHECK_THROWS_AS(Preparation(weights, {.steps = 10, .every = 0}), InvalidArgument);
  CHECK_THROWS_AS(Pruner(model, {.preparation = PreparationOptions{}, .rewind = Rewind{}}), InvalidArgument);
  Pruner hasty(model, {.schedule = cubic({.to = 0.5, .begin = 0, .end = 4, .every = 2}),
                       .preparation = PreparationOptions{.steps = 10, .every = 5}});
  hasty.step();
  hasty.step();
  CHECK_THROWS_AS(hasty.step(), InvalidArgument);
}

}  // namespace espalier::pruning
