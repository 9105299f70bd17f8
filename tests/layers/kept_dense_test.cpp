// Training on kept weights alone against the dense layer with zeros in their place.
#include "layers/kept_dense.h"

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "core/device/graph.h"
#include "kernels/require.h"
#include "layers/layers.h"
#include "tests/support/kept_training.h"

namespace espalier {
namespace {

using kernels::Activation;
using test::dense_gradient;
using test::random_tensor;
using test::Train;

struct Results {
  std::vector<float> y, dx, dw, db;
};

struct Problem {
  std::int64_t batch, in, out;
  double sparsity = 0.9;
  Activation activation = Activation::none;
  bool bias = true;
};

Results run(const Problem& p, Train train) {
  Dense dense(p.in, p.out, {.bias = p.bias, .seed = 5});
  dense.weight().set_mask(test::uneven_mask({p.out, p.in}, p.sparsity, 8));
  if (train == Train::kept) dense.weight().train_kept();
  if (train == Train::kept_by_vendor) dense.weight().train_kept(SampledBy::vendor);
  Variable x(random_tensor({p.batch, p.in}, 1), Gradient::required);
  Variable y = dense.with_activation(x, p.activation, 0.1f);
  y.backward(random_tensor({p.batch, p.out}, 2));
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
  dense.weight().set_mask(test::uneven_mask({14, 33}, 0.8, 2));
  dense.weight().train_kept(SampledBy::vendor);
  const Tensor x = random_tensor({9, 33}, 3);
  const Tensor dy = random_tensor({9, 14}, 4);
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
  dense.weight().set_mask(test::uneven_mask({4, 6}, 0.5, 2));
  dense.weight().train_kept();
  const Variable x(random_tensor({2, 6}, 3), Gradient::required);
  const auto function_of = [&] { return std::string(dense(x).node()->function->name()); };
  CHECK(function_of() == "dense, kept weights");
  dense.set_training(false);
  CHECK(function_of() == "dense");
  dense.set_training(true);
  {
    const PrecisionScope scope(Precision::fp16);
    CHECK(function_of() == "dense");
  }
  dense.weight().set_mask(test::uneven_mask({4, 6}, 0.5, 4));
  CHECK(function_of() == "dense");
  CHECK_THROWS_WITH_AS(KeptWeights(Tensor::zeros({2, 2}, DType::u8)), doctest::Contains("lives"), InvalidArgument);
}

TEST_CASE("kept weights: every optimizer trains as with the dense layer, pruned weights and moments stay zero bits") {
  test::check_kept_training([] { return Sequential(Dense(41, 30, {.seed = 1}), Relu(), Dense(30, 7, {.seed = 2})); },
                            {12, 41});
}

}  // namespace
}  // namespace espalier
