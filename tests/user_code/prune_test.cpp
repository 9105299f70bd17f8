// Pruning while training, compiling and measuring, word for word as the documentation shows it.
#include <doctest/doctest.h>

#include "core/data/loader.h"
#include "core/data/mnist.h"
#include "core/data/synthetic.h"
#include "core/device/timer.h"
#include "core/train/sgd.h"
#include "layers/layers.h"
#include "pruning/plan.h"
#include "pruning/pruner.h"
#include "tests/support/close.h"
#include "tests/support/temporary_folder.h"

using namespace espalier;
using namespace espalier::pruning;

TEST_CASE("user code: prune, compile and measure") {
  const test::TemporaryFolder folder;
  const std::string data = (folder.path() / "mnist").string();
  data::write_synthetic(data, {.train = 8, .test = 4});

  Sequential model(Conv2d(1, 32, {.padding = 1}), Relu(), MaxPool2d(2), Conv2d(32, 64, {.padding = 1}), Relu(),
                   MaxPool2d(2), Flatten(), Dense(64 * 7 * 7, 128), Relu(), Dense(128, 10));
  DataLoader train(data::mnist(data).train, {.batch = 128, .shuffle = true, .seed = 1});
  Sgd optimizer(model.parameters(), {.learning_rate = 0.05f, .momentum = 0.9f});
  auto train_step = [&](const Batch& batch) {
    optimizer.zero_gradients();
    softmax_cross_entropy(model(batch.images), batch.labels).backward();
    optimizer.step();
  };

  Pruner pruner(model, {.criterion = magnitude(),
                        .pattern = unstructured(),
                        .scope = Scope::global,
                        .schedule = cubic({.from = 0.0, .to = 0.9, .begin = 0, .end = 1'000, .every = 50})});
  for (const Batch& batch : train) {
    train_step(batch);
    pruner.step();
  }
  fmt::print("{}\n", pruner.report());  // layer, kept / total, sparsity, FLOPs left
  pruner.prune_to(0.9);                 // the schedule's end, without its thousand steps
  for (const Batch& batch : train) train_step(batch);

  const Tensor images = train.begin()->images;
  Plan dense_plan = compile(model, images.shape(), {.candidates = {dense()}});
  Plan sparse_plan = compile(model, images.shape(), {.candidates = {dense(), csr(), block_csr(8, 8), two_four()}});
  Timing before = benchmark([&] { dense_plan(images); }), after = benchmark([&] { sparse_plan(images); });
  fmt::print("{}\n{:.1f} µs -> {:.1f} µs, {:.2f}x\n", sparse_plan, before.median_us, after.median_us,
             before.median_us / after.median_us);

  CHECK(pruner.report().sparsity() == doctest::Approx(0.9).epsilon(0.001));
  for (const Parameter* parameter : pruner.parameters()) {  // no update woke a pruned weight
    const auto values = parameter->value.value().to_host();
    const auto keep = parameter->mask()->keep.to_host_as<std::uint8_t>();
    for (std::size_t i = 0; i < values.size(); ++i) {
      if (!keep[i] && values[i] != 0.0f) FAIL(parameter->name);
    }
  }
  CHECK(test::difference(sparse_plan(images).to_host(), dense_plan(images).to_host(), 1e-4, 1e-4) == "");
}
