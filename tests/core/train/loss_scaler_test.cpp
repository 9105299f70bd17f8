// Loss scaling as an optimizer does it: the same bits as without where nothing overflows, by itself in a captured step,
// and no way to forget half of it.
#include "core/train/loss_scaler.h"

#include <doctest/doctest.h>

#include <bit>
#include <memory>

#include "core/device/graph.h"
#include "core/train/adam.h"
#include "core/train/sgd.h"
#include "kernels/require.h"
#include "layers/loss.h"
#include "tests/support/close.h"

using namespace espalier;

namespace {

std::unique_ptr<Optimizer> make(int kind, Parameter& parameter) {
  if (kind == 0) {
    return std::make_unique<Sgd>(std::vector{&parameter}, SgdOptions{.learning_rate = 0.1f, .momentum = 0.9f});
  }
  return std::make_unique<Adam>(std::vector{&parameter}, AdamOptions{.learning_rate = 0.1f});
}

Tensor random_tensor(std::int64_t size, unsigned seed) {
  return Tensor::from({size}, test::random_floats(std::size_t(size), seed));
}

}  // namespace

TEST_CASE("loss scaling: a run without overflow has the bits of an unscaled one, through growth of the scale") {
  const Tensor target = random_tensor(37, 2);
  for (const int kind : {0, 1}) {
    Parameter plain("weight", random_tensor(37, 1)), scaled("weight", random_tensor(37, 1));
    const auto plain_optimizer = make(kind, plain), scaled_optimizer = make(kind, scaled);
    scaled_optimizer->scale_loss({.initial = 256, .growth_interval = 2});
    for (int step = 0; step < 5; ++step) {
      for (auto* optimizer : {plain_optimizer.get(), scaled_optimizer.get()}) {
        optimizer->zero_gradients();
        optimizer->backward(mean_squared_error(optimizer->parameters().front()->value, target));
        optimizer->step();
      }
    }
    CHECK(scaled.value.value().to_host_bytes() == plain.value.value().to_host_bytes());
    CHECK(scaled_optimizer->loss_scaler()->status() == LossScaleStatus{1024, 1, 0});
    CHECK(scaled_optimizer->steps() == 5);
  }
}

TEST_CASE("loss scaling: a captured step skips what overflows, then goes on, and masked weights stay true zeros") {
  const Tensor target = random_tensor(6, 2);
  for (const int kind : {0, 1}) {
    Parameter weight("weight", random_tensor(6, 1));
    weight.set_mask({Tensor::from({6}, std::vector<std::uint8_t>{1, 0, 1, 1, 0, 1})});
    const auto optimizer = make(kind, weight);
    optimizer->scale_loss({.initial = 4, .growth_interval = 100});
    const Graph graph([&] {
      optimizer->zero_gradients();
      optimizer->backward(mean_squared_error(weight.value, target));
      optimizer->step();
    });
    const auto after_one = weight.value.value().to_host();
    const Tensor good = target.clone();
    std::vector<float> bad = target.to_host();
    bad[4] = HUGE_VALF;  // of a masked weight: that counts as well
    target.copy_from(Tensor::from({6}, bad));
    graph.launch();
    graph.launch();
    CHECK(weight.value.value().to_host() == after_one);
    CHECK(optimizer->loss_scaler()->status() == LossScaleStatus{1, 0, 2});
    CHECK(optimizer->steps() == 1);
    target.copy_from(good);
    graph.launch();
    const auto values = weight.value.value().to_host();
    CHECK(values != after_one);
    for (const std::size_t i : {1, 4}) CHECK(std::bit_cast<std::uint32_t>(values[i]) == 0u);
    CHECK(optimizer->loss_scaler()->status() == LossScaleStatus{1, 1, 2});
  }
}

TEST_CASE("loss scaling: half of it is refused, and so are settings that would round or never end") {
  Parameter weight("weight", random_tensor(3, 1));
  Sgd optimizer({&weight});
  CHECK(optimizer.loss_scaler() == nullptr);
  CHECK_THROWS_AS(optimizer.set_loss_scale({.scale = 2}), InvalidArgument);
  CHECK_THROWS_AS(optimizer.scale_loss({.initial = 1000}), InvalidArgument);
  CHECK_THROWS_AS(optimizer.scale_loss({.backoff = 1}), InvalidArgument);
  CHECK_THROWS_AS(optimizer.scale_loss({.growth_interval = 0}), InvalidArgument);
  optimizer.scale_loss();
  mean_squared_error(weight.value, random_tensor(3, 2)).backward();
  CHECK_THROWS_WITH_AS(optimizer.step(), doctest::Contains("instead of loss.backward()"), InvalidArgument);
  CHECK_THROWS_AS(optimizer.backward(weight.value), InvalidArgument);
  CHECK_THROWS_AS(optimizer.set_loss_scale({.scale = -1}), InvalidArgument);
  CHECK_THROWS_AS(optimizer.scale_loss(), InvalidArgument);
}
