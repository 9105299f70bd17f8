#include "layers/concat.h"

#include <doctest/doctest.h>

#include "kernels/require.h"
#include "layers/architecture.h"
#include "layers/gradient_check.h"
#include "layers/layers.h"

namespace espalier {
namespace {

TEST_CASE("concat: gradient equals central differences, of maps and of features, nested and with x handed on") {
  const GradientCheckOptions options{.tolerance = 1e-3};
  CHECK(gradient_check(Concat(Tanh(), Gelu()), {3, 7}, options));
  CHECK(gradient_check(Concat(Sequential(), Sequential(Conv2d(2, 3, {.padding = 1, .seed = 1}), Tanh())), {2, 2, 3, 5},
                       options));
  CHECK(gradient_check(Concat(Concat(Sigmoid(), Tanh()), AvgPool2d(1)), {2, 2, 2, 3}, options));
}

TEST_CASE("concat: the branches' channels follow each other in every sample") {
  const Variable x(Tensor::from({2, 2}, std::vector<float>{-1, 2, -3, 4}));
  CHECK(Concat(Relu(), Sequential())(x).value().to_host() == std::vector<float>{0, 2, -1, 2, 0, 4, -3, 4});
  const Variable maps(Tensor::full({2, 1, 1, 2}, 3.0f));
  CHECK(concat({maps, maps, maps}).shape() == Shape{2, 3, 1, 2});
}

TEST_CASE("concat: names, description and back") {
  Sequential model{Concat(Dense(3, 2), Sequential(Dense(3, 4), Relu())), Dense(6, 2)};
  CHECK(model.parameters()[0]->name == "concat_1.dense_1.weight");
  CHECK(model.parameters()[2]->name == "concat_1.sequential_1.dense_1.weight");
  const auto again = build(description_from_json(to_json(model.describe())));
  CHECK(to_json(again->describe()) == to_json(model.describe()));
  CHECK((*again)(Variable(Tensor::zeros({5, 3}))).shape() == Shape{5, 2});
}

TEST_CASE("concat: branches that do not fit, and none at all, are refused in words") {
  CHECK_THROWS_WITH_AS(Concat(Relu(), MaxPool2d(2))(Variable(Tensor::zeros({1, 2, 4, 4}))),
                       "concat: the branches give [1, 2, 4, 4] and [1, 2, 2, 2]; they may differ in axis 1, the "
                       "channels, alone",
                       InvalidArgument);
  CHECK_THROWS_AS(Concat(std::vector<std::unique_ptr<Module>>()), InvalidArgument);
  CHECK_THROWS_AS(concat({}), InvalidArgument);
}

}  // namespace
}  // namespace espalier
