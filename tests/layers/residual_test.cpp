#include "layers/residual.h"

#include <doctest/doctest.h>

#include "kernels/require.h"
#include "layers/activation.h"
#include "layers/flatten.h"
#include "layers/gradient_check.h"
#include "layers/pool2d.h"
#include "layers/sequential.h"

namespace espalier {
namespace {

TEST_CASE("residual: gradient equals central differences, with and without a shortcut, nested") {
  const GradientCheckOptions options{.tolerance = 1e-3};
  CHECK(gradient_check(Residual(Tanh()), {3, 7}, options));
  CHECK(gradient_check(Residual(Tanh(), Gelu()), {3, 7}, options));
  CHECK(gradient_check(Residual(Sequential(Sigmoid(), AvgPool2d(2)), AvgPool2d(2)), {2, 2, 4, 6}, options));
  CHECK(gradient_check(Residual(Sequential(Residual(Sigmoid()), Tanh())), {3, 5}, options));
}

TEST_CASE("residual: adds the shortcut to the body") {
  const Variable x(Tensor::full({2, 3}, -2.0f));
  CHECK(Residual(Relu())(x).value().to_host() == std::vector<float>(6, -2.0f));
  CHECK(Residual(LeakyRelu(0.5f), LeakyRelu(0.25f))(x).value().to_host() == std::vector<float>(6, -1.5f));
}

TEST_CASE("residual: its parts take part in training mode, names and description") {
  struct Stateful : Module {
    Parameter weight{"weight", Tensor::zeros({1})};
    Variable operator()(const Variable& x) override { return x; }
    std::string_view kind() const override { return "stateful"; }
    Description describe() const override { return {"stateful", {}, {}}; }

   protected:
    std::vector<Parameter*> own_parameters() override { return {&weight}; }
  };
  Sequential model{Residual(Sequential(Stateful()), Stateful())};
  REQUIRE(model.parameters().size() == 2);
  CHECK(model.parameters()[0]->name == "residual_1.sequential_1.stateful_1.weight");
  CHECK(model.parameters()[1]->name == "residual_1.stateful_1.weight");
  const Description description = model.describe().children.at(0);
  CHECK(description.kind == "residual");
  CHECK(description.children.size() == 2);
  CHECK(Residual(Relu()).describe().children.size() == 1);
}

TEST_CASE("residual: parts of different shape are refused in words, as is a missing body") {
  CHECK_THROWS_WITH_AS(Residual(MaxPool2d(2))(Variable(Tensor::zeros({1, 1, 4, 4}))),
                       "add: the shapes are [1, 1, 2, 2] and [1, 1, 4, 4]; give the residual block a shortcut that "
                       "brings x to the body's shape",
                       InvalidArgument);
  CHECK_THROWS_AS(Residual(nullptr, nullptr), InvalidArgument);
}

}  // namespace
}  // namespace espalier
