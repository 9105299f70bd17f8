#include "pruning/regularizer.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "kernels/require.h"
#include "pruning/pruner.h"
#include "pruning/shrink.h"
#include "tests/support/small_run.h"

namespace espalier::pruning {
namespace {

std::int64_t zeros(const Parameter& parameter) {
  const auto values = parameter.value.value().to_host();
  return std::count(values.begin(), values.end(), 0.0f);
}

// Two epochs of a small run with a penalty in each step.
template <class MakePenalty>
void train_with(Sequential& model, const MakePenalty& make, Execution execution) {
  const data::ImageData data = test::small_data();
  DataLoader loader(data.train, {.batch = 14, .seed = 7});
  Sgd optimizer(model.parameters(), {.learning_rate = 0.05f, .momentum = 0.9f});
  const std::unique_ptr<Regularizer> penalty = make(model);
  Trainer trainer(classifier(model), optimizer, loader,
                  {.epochs = 2,
                   .after_update = [&] { penalty->apply(optimizer.rate_on_device()); },
                   .execution = execution,
                   .progress = Progress::none});
  trainer.run();
}

TEST_CASE("regularizer: the step is part of the captured update, and makes true zeros where it can") {
  const auto make_l1 = [](Module& model) { return l1_penalty(weights_of(model), 0.3f); };
  Sequential captured = test::small_model(), eager = test::small_model(), plain = test::small_model();
  train_with(captured, make_l1, Execution::captured);
  train_with(eager, make_l1, Execution::eager);
  train_with(
      plain, [](Module& model) { return l2_penalty(weights_of(model), 0.3f); }, Execution::captured);
  for (std::size_t i = 0; i < captured.parameters().size(); ++i) {
    CHECK(captured.parameters()[i]->value.value().to_host() == eager.parameters()[i]->value.value().to_host());
  }
  CHECK(zeros(*weights_of(captured)[1]) > 100);
  CHECK(zeros(*weights_of(plain)[1]) == 0);
}

TEST_CASE("regularizer: group lasso empties whole filters or the readers of whole channels") {
  for (const LassoGroups groups : {LassoGroups::filters, LassoGroups::channels}) {
    Sequential model = test::small_model();
    train_with(
        model, [&](Module& of) { return group_lasso({weights_of(of)[1]}, 0.3f, groups); }, Execution::captured);
    const auto weight = weights_of(model)[1]->value.value().to_host();  // [10, 75]
    std::int64_t empty = 0;
    for (std::size_t g = 0; g < (groups == LassoGroups::filters ? 10u : 75u); ++g) {
      bool all = true;
      for (std::size_t i = 0; i < (groups == LassoGroups::filters ? 75u : 10u); ++i) {
        all = all && weight[groups == LassoGroups::filters ? g * 75 + i : i * 75 + g] == 0.0f;
      }
      empty += all;
    }
    CHECK(empty > 0);
  }
}

TEST_CASE("regularizer: a pruner's penalty acts until its end, and again where the steps are set back") {
  Sequential model = test::small_model();
  Pruner pruner(model, {.penalty = l1_penalty(weights_of(model), 0.01f), .penalty_end = 2});
  const Tensor rate = Tensor::full({1}, 0.1f);
  const auto prepared = [&] {
    pruner.prepare(rate.data<float>());
    return weights_of(model)[0]->value.value().to_host();
  };
  const std::vector<float> first = weights_of(model)[0]->value.value().to_host(), second = prepared();
  CHECK(first != second);
  pruner.step();
  const std::vector<float> third = prepared();
  CHECK(second != third);
  pruner.step();
  CHECK(prepared() == third);
  pruner.set_steps(1);
  CHECK(prepared() != third);
}

TEST_CASE("regularizer: scales of a batch norm become zero, and shrink takes their channels out") {
  Sequential model = test::small_model();
  train_with(
      model, [](Module& of) { return batch_norm_penalty(of, 4.0f); }, Execution::captured);
  CHECK(zeros(*model.parameters()[2]) > 0);
  const Shrunk shrunk = shrink(model, {2, 1, 12, 12});
  CHECK(shrunk.widths[0].after < 3);
  CHECK(shrunk.relative_difference() < 1e-5);
  Sequential without(Dense(3, 2));
  CHECK_THROWS_AS(batch_norm_penalty(without, 1.0f), InvalidArgument);
  CHECK_THROWS_AS(l1_penalty({}, 1.0f), InvalidArgument);
  CHECK_THROWS_AS(group_lasso({model.parameters()[2]}, 1.0f, LassoGroups::filters), InvalidArgument);
}

}  // namespace
}  // namespace espalier::pruning
