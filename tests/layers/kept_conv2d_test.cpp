// Training on kept weights alone against the convolution with zeros in their place.
#include "layers/kept_conv2d.h"

#include <doctest/doctest.h>

#include <vector>

#include "kernels/require.h"
#include "layers/layers.h"
#include "tests/support/kept_training.h"

namespace espalier {
namespace {

using kernels::Activation;
using test::random_tensor;
using test::Train;

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
  layer.weight().set_mask(test::uneven_mask(layer.weight().value.shape(), p.sparsity, 8));
  if (train == Train::kept) layer.weight().train_kept();
  Variable x(random_tensor({p.batch, p.channels, p.side, p.side}, 1), Gradient::required);
  Variable y = p.pool ? layer.with_pool(x, p.activation, 0.1f) : layer.with_activation(x, p.activation, 0.1f);
  y.backward(random_tensor(y.shape(), 2));
  CHECK(layer.weight().value.has_gradient() == (train == Train::all));
  return {y.value().to_host(), x.gradient().to_host(), test::dense_gradient(layer.weight()),
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
  layer.weight().set_mask(test::uneven_mask({4, 2, 3, 3}, 0.5, 2));
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
  layer.weight().set_mask(test::uneven_mask({4, 2, 3, 3}, 0.5, 4));
  CHECK(function_of() == "conv2d");
  CHECK_THROWS_WITH_AS(KeptWeights(Tensor::zeros({2, 2, 2}, DType::u8)), doctest::Contains("two axes"),
                       InvalidArgument);
}

TEST_CASE("kept convolution: every optimizer trains as with the dense one, pruned weights and moments stay zero bits") {
  test::check_kept_training(
      [] {
        return Sequential(Conv2d(2, 6, {.padding = 1, .seed = 1}), Relu(), MaxPool2d(2), Conv2d(6, 5, {.seed = 2}),
                          Relu(), Flatten(), Dense(20, 7, {.seed = 3}));
      },
      {12, 2, 8, 8});
}

}  // namespace
}  // namespace espalier
