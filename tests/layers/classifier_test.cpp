// A training step and a compiled model as graphs: how many launches each takes, counted through the graph itself.
#include "layers/classifier.h"

#include <doctest/doctest.h>

#include "core/data/synthetic.h"
#include "core/device/graph.h"
#include "core/device/math.h"
#include "core/train/sgd.h"
#include "kernels/require.h"
#include "kernels/simt/simt.h"
#include "layers/zoo.h"
#include "pruning/plan.h"
#include "tests/support/close.h"

namespace espalier {
namespace {

constexpr std::int64_t kBatch = 32, kLargeBatch = 128;

// With the gather of its batch.
std::size_t nodes_of_step(const char* name, std::int64_t batch) {
  const MathScope by_hand(Math::handwritten);
  const auto data = data::synthetic({.train = 4 * batch, .test = 1, .height = 28, .width = 28});
  Sequential model = zoo::build(name, {1, 28, 28}, 1);
  Sgd optimizer(model.parameters(), {.learning_rate = 0.01f, .momentum = 0.9f});
  DataLoader loader(data.train, {.batch = batch, .augmentation = {.shift = 2}});
  MetricsAccumulator metrics(loader.classes());
  const Trainable trainable = classifier(model);
  const Batch buffers = Batch::empty(batch, loader.image_shape());
  loader.stage();
  loader.enqueue(buffers);
  const Graph step([&] {
    loader.enqueue(buffers);
    optimizer.zero_gradients();
    optimizer.backward(trainable.forward(buffers, metrics));
    optimizer.step();
  });
  return step.node_count();
}

}  // namespace

TEST_CASE("classifier: a training step of lenet-5 is at most 13 launches, the gather of its batch included") {
  CHECK(nodes_of_step("lenet-5", kBatch) <= 13);
  CHECK(nodes_of_step("lenet-5-relu", kBatch) <= 13);
  if (simt::kEmulated) CHECK(nodes_of_step("lenet-5", kLargeBatch) <= 13);
  CHECK(nodes_of_step("seed-cnn", kBatch) <= 17);  // dropout comes between its dense layers
}

TEST_CASE("classifier: the dense plan of lenet-5 is at most 4 launches") {
  Sequential model = zoo::build("lenet-5", {1, 28, 28}, 1);
  const pruning::CompileOptions dense{.candidates = {pruning::dense(Math::handwritten)},
                                      .timing = {.warmup = 0, .min_repeats = 1, .max_repeats = 1, .budget_ms = 0},
                                      .rounds = 1};
  CHECK(pruning::compile(model, {kBatch, 1, 28, 28}, dense).node_count() <= 4);
}

TEST_CASE("classifier: a pupil learns from a teacher, which stays as it is, in captured steps as in eager ones") {
  const auto data = data::synthetic({.train = 64, .test = 1, .height = 12, .width = 12});
  Sequential teacher = zoo::build("lenet-300-100", {1, 12, 12}, 1);
  const std::vector<float> before = teacher.parameters()[0]->value.value().to_host();
  const auto train = [&](Execution execution) {
    Sequential pupil = zoo::build("lenet-300-100", {1, 12, 12}, 2);
    Sgd optimizer(pupil.parameters(), {.learning_rate = 0.05f});
    DataLoader loader(data.train, {.batch = 24, .augmentation = {.shift = 1}});
    Trainer trainer(classifier(pupil, {.teachers = {&teacher, &teacher}, .weight = 1.0f}), optimizer, loader,
                    {.epochs = 12, .execution = execution, .progress = Progress::none});
    const std::vector<EpochReport> epochs = trainer.run();
    CHECK(epochs.back().metrics.loss < 0.5 * epochs.front().metrics.loss);
    return pupil.parameters()[0]->value.value().to_host();
  };
  CHECK(train(Execution::captured) == train(Execution::eager));
  CHECK(teacher.parameters()[0]->value.value().to_host() == before);
  CHECK_THROWS_AS(classifier(teacher, {.label_smoothing = 0.1f, .teachers = {&teacher}}), InvalidArgument);
}

TEST_CASE("classifier: a pupil learns the same from what teachers said before as from teachers that are run") {
  const auto data = data::synthetic({.train = 60, .test = 1, .height = 12, .width = 12}, {.validation = 13});
  Sequential teacher = zoo::build("lenet-300-100", {1, 12, 12}, 1);
  const auto train = [&](const ClassifierOptions& options, Execution execution) {
    Sequential pupil = zoo::build("lenet-300-100", {1, 12, 12}, 2);
    Sgd optimizer(pupil.parameters(), {.learning_rate = 0.05f});
    DataLoader loader(data.train, {.batch = 24});
    Trainer trainer(classifier(pupil, options), optimizer, loader,
                    {.epochs = 3, .execution = execution, .progress = Progress::none});
    trainer.run();
    return pupil.parameters()[0]->value.value().to_host();
  };
  const ClassifierOptions told{.opinions = opinions({&teacher, &teacher}, data.train, 7), .weight = 0.8f};
  CHECK(told.opinions[0].shape() == Shape{60, 10});
  const std::vector<float> learned = train(told, Execution::captured);
  CHECK(learned == train(told, Execution::eager));
  const std::vector<float> asked = train({.teachers = {&teacher, &teacher}, .weight = 0.8f}, Execution::captured);
  // A product may sum in another order at another batch size: rounding, over six steps.
  CHECK(test::difference(learned, std::vector<double>(asked.begin(), asked.end()), 0, 1e-5) == "");
  CHECK_THROWS_AS(classifier(teacher, {.label_smoothing = 0.1f, .opinions = told.opinions}), InvalidArgument);
  CHECK_THROWS_AS(classifier(teacher, {.teachers = {&teacher}, .opinions = told.opinions}), InvalidArgument);
}

}  // namespace espalier
