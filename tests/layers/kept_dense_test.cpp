// Training on kept weights alone against the dense layer with zeros in their place.
#include "layers/kept_dense.h"

#include <doctest/doctest.h>

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/device/graph.h"
#include "core/train/adam.h"
#include "core/train/sgd.h"
#include "kernels/require.h"
#include "layers/layers.h"
#include "tests/support/close.h"
#include "tests/support/sparse_problems.h"

namespace espalier {
namespace {

using kernels::Activation;

Mask mask_of(std::int64_t rows, std::int64_t columns, double sparsity, unsigned seed) {
  std::vector<std::uint8_t> keep;
  for (const float value : test::uneven_weight(rows, columns, sparsity, seed)) keep.push_back(value != 0.0f);
  return {Tensor::from_bytes({rows, columns}, DType::u8, std::as_bytes(std::span(keep)))};
}

std::vector<std::uint32_t> bits_of(const Tensor& tensor) {
  std::vector<std::uint32_t> bits;
  for (const float value : tensor.to_host()) bits.push_back(std::bit_cast<std::uint32_t>(value));
  return bits;
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

struct Results {
  std::vector<float> y, dx, dw, db;
};

enum class Train { all, kept, kept_by_vendor };

struct Problem {
  std::int64_t batch, in, out;
  double sparsity = 0.9;
  Activation activation = Activation::none;
  bool bias = true;
};

Results run(const Problem& p, Train train) {
  Dense dense(p.in, p.out, {.bias = p.bias, .seed = 5});
  dense.weight().set_mask(mask_of(p.out, p.in, p.sparsity, 8));
  if (train == Train::kept) dense.weight().train_kept();
  if (train == Train::kept_by_vendor) dense.weight().train_kept(SampledBy::vendor);
  Variable x(Tensor::from({p.batch, p.in}, test::random_floats(std::size_t(p.batch * p.in), 1)), Gradient::required);
  Variable y = dense.with_activation(x, p.activation, 0.1f);
  y.backward(Tensor::from({p.batch, p.out}, test::random_floats(std::size_t(p.batch * p.out), 2)));
  CHECK(dense.weight().value.has_gradient() == (train == Train::all));
  return {y.value().to_host(), x.gradient().to_host(), dense_gradient(dense.weight()),
          p.bias ? dense.bias()->value.gradient().to_host() : std::vector<float>()};
}

void check(const Problem& p) {
  CAPTURE(p.batch);
  CAPTURE(p.in);
  CAPTURE(p.out);
  CAPTURE(p.sparsity);
  const Results all = run(p, Train::all);
  for (const Train train : {Train::kept, Train::kept_by_vendor}) {
    const Results kept = run(p, train);
    CHECK(test::difference(kept.y, all.y, 1e-5, test::sum_tolerance(p.in)) == "");
    CHECK(test::difference(kept.dx, all.dx, 1e-5, test::sum_tolerance(p.out)) == "");
    CHECK(test::difference(kept.dw, all.dw, 1e-5, test::sum_tolerance(p.batch)) == "");
    CHECK(test::difference(kept.db, all.db, 1e-5, test::sum_tolerance(p.batch)) == "");
  }
}

TEST_CASE("kept weights: output and every gradient equal those of the dense layer with zeros") {
  for (const std::int64_t batch : {1, 3, 16, 33, 130}) check({batch, 37, 19});
  for (const std::int64_t side : {1, 31, 32, 65}) check({20, side, side + 1, 0.8});
  for (const double sparsity : {0.0, 0.5, 0.99}) check({17, 40, 23, sparsity});
}

TEST_CASE("kept weights: the vendor's gradients are captured with their step") {
  Dense dense(33, 14, {.seed = 1});
  dense.weight().set_mask(mask_of(14, 33, 0.8, 2));
  dense.weight().train_kept(SampledBy::vendor);
  const Tensor x = Tensor::from({9, 33}, test::random_floats(9 * 33, 3));
  const Tensor dy = Tensor::from({9, 14}, test::random_floats(9 * 14, 4));
  const Graph step([&] {
    for (Parameter* parameter : dense.parameters()) parameter->clear_gradient();
    dense(x).backward(dy);
  });
  step.launch();
  const std::vector<float> captured = dense_gradient(dense.weight());
  dense.weight().train_all();
  dense.weight().clear_gradient();
  dense(x).backward(dy);
  CHECK(test::difference(captured, dense_gradient(dense.weight()), 1e-5, test::sum_tolerance(9)) == "");
}

TEST_CASE("kept weights: activations in the epilogue, and no bias") {
  for (const Activation activation : {Activation::relu, Activation::leaky_relu, Activation::sigmoid, Activation::tanh})
    check({9, 33, 14, 0.8, activation});
  check({9, 33, 14, 0.8, Activation::relu, false});
}

TEST_CASE("kept weights: inference, reduced precision and a new mask are dense again") {
  Dense dense(6, 4, {.seed = 1});
  CHECK_THROWS_WITH_AS(dense.weight().train_kept(), doctest::Contains("a weight with a mask"), InvalidArgument);
  dense.weight().set_mask(mask_of(4, 6, 0.5, 2));
  dense.weight().train_kept();
  const Variable x(Tensor::from({2, 6}, test::random_floats(12, 3)), Gradient::required);
  const auto function_of = [&] { return std::string(dense(x).node()->function->name()); };
  CHECK(function_of() == "dense, kept weights");
  dense.set_training(false);
  CHECK(function_of() == "dense");
  dense.set_training(true);
  {
    const PrecisionScope scope(Precision::fp16);
    CHECK(function_of() == "dense");
  }
  dense.weight().set_mask(mask_of(4, 6, 0.5, 4));
  CHECK(function_of() == "dense");
  CHECK_THROWS_WITH_AS(KeptWeights(Tensor::zeros({2, 2}, DType::u8)), doctest::Contains("lives"), InvalidArgument);
}

// Some steps, with a mask of its own before each third: weights and moments afterwards.
std::vector<Tensor> train(Train how, const std::function<std::unique_ptr<Optimizer>(std::vector<Parameter*>)>& make) {
  Sequential model(Dense(41, 30, {.seed = 1}), Relu(), Dense(30, 7, {.seed = 2}));
  const std::unique_ptr<Optimizer> optimizer = make(model.parameters());
  const Tensor x = Tensor::from({12, 41}, test::random_floats(12 * 41, 3));
  std::vector<std::int32_t> labels;
  for (int i = 0; i < 12; ++i) labels.push_back(i % 7);
  Parameter &first = *model.parameters()[0], &second = *model.parameters()[2];
  for (int step = 0; step < 9; ++step) {
    if (step % 3 == 0) {
      first.set_mask(mask_of(30, 41, 0.8, unsigned(step)));
      second.set_mask(mask_of(7, 30, 0.5, unsigned(step)));
    }
    const bool dense_now = step % 3 == 2;  // as before a regrowth by gradient
    for (Parameter* weight : {&first, &second}) {
      if (how == Train::all || dense_now) weight->train_all();
      if (how == Train::kept && step % 3 == 0) weight->train_kept();
    }
    optimizer->zero_gradients();
    softmax_cross_entropy(model(x), Tensor::from({12}, labels)).backward();
    optimizer->step();
    for (const Parameter* weight : {&first, &second}) {
      const auto keep = weight->mask()->keep.to_host_as<std::uint8_t>();
      const auto value = bits_of(weight->value.value());
      for (std::size_t i = 0; i < keep.size(); ++i) REQUIRE((keep[i] || value[i] == 0));
    }
  }
  std::vector<Tensor> result{first.value.value(), second.value.value()};
  for (Buffer* buffer : optimizer->state()) result.push_back(buffer->value);
  return result;
}

TEST_CASE("kept weights: every optimizer trains as with the dense layer, pruned weights and moments stay zero bits") {
  using Make = std::function<std::unique_ptr<Optimizer>(std::vector<Parameter*>)>;
  const std::vector<std::pair<std::string, Make>> optimizers{
      {"sgd", [](auto parameters) { return std::make_unique<Sgd>(parameters, SgdOptions{.learning_rate = 0.1f}); }},
      {"nesterov",
       [](auto parameters) {
         return std::make_unique<Sgd>(
             parameters, SgdOptions{.learning_rate = 0.1f, .momentum = 0.9f, .weight_decay = 0.01f, .nesterov = true});
       }},
      {"adam", [](auto parameters) { return std::make_unique<Adam>(parameters, AdamOptions{.weight_decay = 0.01f}); }},
      {"adamw",
       [](auto parameters) { return std::make_unique<AdamW>(parameters, AdamOptions{.weight_decay = 0.01f}); }}};
  for (const auto& [name, make] : optimizers) {
    CAPTURE(name);
    const std::vector<Tensor> kept = train(Train::kept, make), all = train(Train::all, make);
    REQUIRE(kept.size() == all.size());
    for (std::size_t i = 0; i < kept.size(); ++i) {
      CAPTURE(i);
      CHECK(test::difference(kept[i].to_host(), all[i].to_host(), 1e-3, 2e-5) == "");
      const auto mine = bits_of(kept[i]), theirs = bits_of(all[i]);
      for (std::size_t j = 0; j < mine.size(); ++j) CHECK((theirs[j] != 0 || mine[j] == 0));
    }
  }
}

}  // namespace
}  // namespace espalier
