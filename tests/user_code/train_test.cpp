// The first program that a user writes, word for word as the documentation shows it.
#include <doctest/doctest.h>

#include <filesystem>

#include "core/data/loader.h"
#include "core/data/mnist.h"
#include "core/data/synthetic.h"
#include "core/train/sgd.h"
#include "kernels/gemm_tensor_core.h"
#include "layers/layers.h"
#include "tests/support/temporary_folder.h"

using namespace espalier;

namespace {

class WorkingFolder {
 public:
  explicit WorkingFolder(const std::filesystem::path& folder) : previous_(std::filesystem::current_path()) {
    std::filesystem::current_path(folder);
  }
  ~WorkingFolder() { std::filesystem::current_path(previous_); }
  WorkingFolder(const WorkingFolder&) = delete;
  WorkingFolder& operator=(const WorkingFolder&) = delete;

 private:
  std::filesystem::path previous_;
};

}  // namespace

TEST_CASE("user code: train") {
  const test::TemporaryFolder folder;
  const WorkingFolder working(folder.path());
  data::write_synthetic("data/mnist", {.train = 24, .test = 10});

  Sequential model(Conv2d(1, 32, {.padding = 1}), Relu(), MaxPool2d(2), Conv2d(32, 64, {.padding = 1}), Relu(),
                   MaxPool2d(2), Flatten(), Dense(64 * 7 * 7, 128), Relu(), Dense(128, 10));
  DataLoader train(data::mnist("data/mnist").train, {.batch = 128, .shuffle = true, .seed = 1});
  Sgd optimizer(model.parameters(), {.learning_rate = 0.05f, .momentum = 0.9f});
  auto train_step = [&](const Batch& batch) {  // images [N, 1, 28, 28], labels [N]
    optimizer.zero_gradients();
    softmax_cross_entropy(model(batch.images), batch.labels).backward();
    optimizer.step();  // one fused kernel: update, then re-impose the mask
  };
  const Batch first = *train.begin();
  const float loss_before = softmax_cross_entropy(model(first.images), first.labels).value().item();
  for (int epoch = 0; epoch < 10; ++epoch) {
    for (const Batch& batch : train) train_step(batch);
  }

  const Tensor images = train.begin()->images;
  CHECK(images.shape() == Shape{24, 1, 28, 28});
  CHECK(optimizer.steps() == 10);
  CHECK(softmax_cross_entropy(model(first.images), first.labels).value().item() < 0.5f * loss_before);
}

TEST_CASE("user code: train in fp16 with a scaled loss") {
  if (!kernels::has_tensor_cores_for(Precision::fp16)) return;
  const auto data = data::synthetic({.train = 24, .test = 10, .height = 12, .width = 12});
  Sequential model(Flatten(), Dense(144, 32), Relu(), Dense(32, 10, {.seed = 1}));
  DataLoader train(data.train, {.batch = 12, .seed = 1});

  const PrecisionScope precision(Precision::fp16);
  Sgd optimizer(model.parameters(), {.learning_rate = 0.05f, .momentum = 0.9f});
  optimizer.scale_loss();
  auto train_step = [&](const Batch& batch) {
    optimizer.zero_gradients();
    optimizer.backward(softmax_cross_entropy(model(batch.images), batch.labels));
    optimizer.step();
  };
  const Batch first = *train.begin();
  const float loss_before = softmax_cross_entropy(model(first.images), first.labels).value().item();
  for (int epoch = 0; epoch < 10; ++epoch) {
    for (const Batch& batch : train) train_step(batch);
  }

  CHECK(optimizer.loss_scaler()->status().skipped_steps == 0);
  CHECK(optimizer.steps() == 20);
  CHECK(softmax_cross_entropy(model(first.images), first.labels).value().item() < 0.5f * loss_before);
}
