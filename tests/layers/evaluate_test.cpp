// Evaluation: exact counts over every batch size, the model's mode put back, and no way to judge on training data.
#include "layers/evaluate.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "kernels/require.h"
#include "tests/support/small_run.h"

using namespace espalier;

namespace {

template <class T>
concept Evaluable = requires(Module& model, const T& samples) {
  evaluate(model, samples);
};

}  // namespace

static_assert(Evaluable<TestSplit> && Evaluable<ValidationSplit>);
static_assert(!Evaluable<TrainSplit> && !Evaluable<DataLoader>);

TEST_CASE("evaluate: counts what a plain look at the logits counts, for any batch size") {
  Sequential model = test::small_model();
  const auto data = test::small_data();
  const Metrics metrics = evaluate(model, data.test);
  model.set_training(false);
  const Batch all = data.test.batch(0, data.test.size());
  const auto logits = model(all.images).value().to_host();
  const auto labels = all.labels.to_host_as<std::int32_t>();
  std::int64_t correct = 0;
  for (std::size_t n = 0; n < labels.size(); ++n) {
    const auto first = logits.begin() + std::ptrdiff_t(10 * n);
    correct += std::max_element(first, first + 10) - first == labels[n];
  }
  CHECK(metrics.samples() == 30);
  CHECK(metrics.correct() == correct);
  CHECK(metrics.loss == doctest::Approx(softmax_cross_entropy(model(all.images), all.labels).value().item()));
  for (const std::int64_t batch : {1, 7, 29, 30, 31}) {
    const Metrics again = evaluate(model, data.test, {.batch = batch});
    CHECK(again.confusion == metrics.confusion);
    CHECK(again.loss == doctest::Approx(metrics.loss));
  }
}

TEST_CASE("evaluate: leaves mode, weights and running statistics as they were") {
  Sequential model = test::small_model();
  const auto data = test::small_data();
  std::vector<std::vector<std::byte>> before, after;
  const auto look = [&](auto& into) {
    for (Parameter* parameter : model.parameters()) into.push_back(parameter->value.value().to_host_bytes());
    for (Buffer* buffer : model.buffers()) into.push_back(buffer->value.to_host_bytes());
  };
  look(before);
  evaluate(model, data.validation);
  look(after);
  CHECK(model.training());
  CHECK(before == after);
  model.set_training(false);
  evaluate(model, data.test);
  CHECK(!model.training());
}

TEST_CASE("evaluate: an empty split tells what to do") {
  Sequential model = test::small_model();
  CHECK_THROWS_WITH_AS(evaluate(model, ValidationSplit()), doctest::Contains("validation set asked for"),
                       InvalidArgument);
  CHECK_THROWS_AS(evaluate(model, test::small_data().test, {.batch = 0}), InvalidArgument);
}
