// Training on kept weights alone against the convolution with zeros in their place.
#include "layers/kept_conv2d.h"

#include <doctest/doctest.h>

#include <memory>
#include <vector>

#include "core/train/adam.h"
#include "core/train/sgd.h"
#include "kernels/require.h"
#include "layers/layers.h"
#include "tests/support/close.h"
#include "tests/support/kept_buffers.h"

namespace espalier {
namespace {

using kernels::Activation;

Mask mask_of(const Shape& shape, double sparsity, unsigned seed) {
  const auto keep = test::keep_of(test::uneven_weight(shape[0], shape.size() / shape[0], sparsity, seed));
  return {Tensor::from(shape, keep)};
}

Tensor random_tensor(const Shape& shape, unsigned seed) {
  return Tensor::from(shape, test::random_floats(std::size_t(shape.size()), seed));
}

// The gradient of a weight, zero where it is pruned.
std::vector<float> dense_gradient(const Parameter& weight) {
  const std::vector<float> gradient = weight.trained().gradient().to_host();
  std::vector<float> dense(std::size_t(weight.size()), 0.0f);
  const auto keep = weight.mask()->keep.to_host_as<std::uint8_t>();
  for (std::size_t i = 0, next = 0; i < dense.size(); ++i) {
    if (keep[i]) dense[i] = weight.kept() ? gradient[next++] : gradient[i];
  }
  return dense;
}

enum class Train { all, kept };

struct Problem {
  std::int64_t batch, channels, filters, side;
  Conv2dOptions options = {};
  Activation activation = Activation::none;
  bool pool = false;
  double sparsity = 0.8;
};

struct Results {
  std::vector<float> y, dx, dw, db;
};

Results run(const Problem& p, Train train) {
  Conv2d layer(p.channels, p.filters, p.options);
  layer.weight().set_mask(mask_of(layer.weight().value.shape(), p.sparsity, 8));
  if (train == Train::kept) layer.weight().train_kept();
  Variable x(random_tensor({p.batch, p.channels, p.side, p.side}, 1), Gradient::required);
  Variable y = p.pool ? layer.with_pool(x, p.activation, 0.1f) : layer.with_activation(x, p.activation, 0.1f);
  y.backward(random_tensor(y.shape(), 2));
  CHECK(layer.weight().value.has_gradient() == (train == Train::all));
  return {y.value().to_host(), x.gradient().to_host(), dense_gradient(layer.weight()),
          p.options.bias ? layer.bias()->value.gradient().to_host() : std::vector<float>()};
}

void check(const Problem& p) {
  CAPTURE(p.batch);
  CAPTURE(p.channels);
  CAPTURE(p.filters);
  CAPTURE(p.side);
  const Results kept = run(p, Train::kept), all = run(p, Train::all);
  const std::int64_t window = p.options.kernel * p.options.kernel;
  CHECK(test::difference(kept.y, all.y, 1e-5, test::sum_tolerance(p.channels * window)) == "");
  CHECK(test::difference(kept.dx, all.dx, 1e-5, test::sum_tolerance(p.filters * window)) == "");
  const double of_batch = test::sum_tolerance(p.batch * p.side * p.side);
  CHECK(test::difference(kept.dw, all.dw, 1e-5, of_batch) == "");
  CHECK(test::difference(kept.db, all.db, 1e-5, of_batch) == "");
}

TEST_CASE("kept convolution: output and every gradient equal those of the convolution with zeros") {
  for (const std::int64_t batch : {1, 3, 17}) check({batch, 4, 9, 11});
  check({2, 4, 9, 8, {.padding = 1}});
  check({2, 6, 9, 8, {.padding = 1, .groups = 3}});
  check({2, 5, 6, 9, {.kernel = 5, .padding = 2, .bias = false}});
  check({2, 3, 4, 11, {.padding = 2, .dilation = 2}});
  for (const double sparsity : {0.0, 0.98}) check({2, 4, 5, 7, {}, Activation::none, false, sparsity});
}

TEST_CASE("kept convolution: where dx is no convolution of dy, it is the dense one") {
  check({2, 4, 6, 9, {.stride = 2, .padding = 1}});
  check({2, 3, 4, 6, {.kernel = 1, .padding = 1}});
}

TEST_CASE("kept convolution: activations, and the pool behind them") {
  for (const Activation activation : {Activation::relu, Activation::leaky_relu, Activation::sigmoid, Activation::tanh})
    check({2, 3, 5, 8, {.padding = 1}, activation});
  for (const Activation activation : {Activation::none, Activation::relu, Activation::leaky_relu}) {
    check({3, 3, 5, 8, {}, activation, /*pool=*/true});
    check({3, 3, 5, 9, {}, activation, /*pool=*/true});
  }
}

TEST_CASE("kept convolution: inference, reduced precision and a new mask are dense again") {
  Conv2d layer(2, 4, {.seed = 1});
  layer.weight().set_mask(mask_of({4, 2, 3, 3}, 0.5, 2));
  layer.weight().train_kept();
  const Variable x(random_tensor({2, 2, 5, 5}, 3), Gradient::required);
  const auto function_of = [&] { return std::string(layer(x).node()->function->name()); };
  CHECK(function_of() == "conv2d, kept weights");
  layer.set_training(false);
  CHECK(function_of() == "conv2d");
  layer.set_training(true);
  {
    const PrecisionScope scope(Precision::fp16);
    CHECK(function_of() == "conv2d");
  }
  layer.weight().set_mask(mask_of({4, 2, 3, 3}, 0.5, 4));
  CHECK(function_of() == "conv2d");
  CHECK_THROWS_WITH_AS(KeptWeights(Tensor::zeros({2, 2, 2}, DType::u8)), doctest::Contains("two axes"),
                       InvalidArgument);
}

// Some steps, with a new mask before each third: weights and moments afterwards.
std::vector<Tensor> train(Train how, bool adam) {
  Sequential model(Conv2d(2, 6, {.padding = 1, .seed = 1}), Relu(), MaxPool2d(2), Conv2d(6, 5, {.seed = 2}), Relu(),
                   Flatten(), Dense(20, 7, {.seed = 3}));
  std::unique_ptr<Optimizer> optimizer = std::make_unique<Sgd>(
      model.parameters(), SgdOptions{.learning_rate = 0.1f, .momentum = 0.9f, .weight_decay = 0.01f});
  if (adam) optimizer = std::make_unique<Adam>(model.parameters(), AdamOptions{.weight_decay = 0.01f});
  const Tensor x = random_tensor({12, 2, 8, 8}, 3);
  std::vector<std::int32_t> labels;
  for (int i = 0; i < 12; ++i) labels.push_back(i % 7);
  const std::vector<Parameter*> weights{model.parameters()[0], model.parameters()[2]};
  for (int step = 0; step < 6; ++step) {
    for (Parameter* weight : weights) {
      if (step % 3 == 0) weight->set_mask(mask_of(weight->value.shape(), 0.7, unsigned(step)));
      if (how == Train::all || step % 3 == 2) weight->train_all();  // dense, as before a regrowth by gradient
      if (how == Train::kept && step % 3 == 0) weight->train_kept();
    }
    optimizer->zero_gradients();
    softmax_cross_entropy(model(x), Tensor::from({12}, labels)).backward();
    optimizer->step();
    for (const Parameter* weight : weights) {
      const auto keep = weight->mask()->keep.to_host_as<std::uint8_t>();
      const auto value = weight->value.value().to_host();
      for (std::size_t i = 0; i < keep.size(); ++i) REQUIRE((keep[i] || std::bit_cast<std::uint32_t>(value[i]) == 0));
    }
  }
  std::vector<Tensor> result{weights[0]->value.value(), weights[1]->value.value()};
  for (Buffer* buffer : optimizer->state()) result.push_back(buffer->value);
  return result;
}

TEST_CASE("kept convolution: optimizers train as with the dense one, pruned weights stay zero bits") {
  for (const bool adam : {false, true}) {
    CAPTURE(adam);
    const std::vector<Tensor> kept = train(Train::kept, adam), all = train(Train::all, adam);
    REQUIRE(kept.size() == all.size());
    for (std::size_t i = 0; i < kept.size(); ++i) {
      CAPTURE(i);
      CHECK(test::difference(kept[i].to_host(), all[i].to_host(), 1e-3, 2e-5) == "");
    }
  }
}

}  // namespace
}  // namespace espalier
