#include "layers/flatten.h"

#include <doctest/doctest.h>

#include "layers/gradient_check.h"

namespace espalier {
namespace {

TEST_CASE("flatten: gradient equals central differences") {
  CHECK(gradient_check(Flatten(), {2, 3, 2, 5}, {.tolerance = 1e-3}));
}

TEST_CASE("flatten: keeps the batch axis, joins the others, moves no memory") {
  const Tensor x = Tensor::zeros({4, 3, 2, 5});
  const Variable y = Flatten()(Variable(x));
  CHECK(y.shape() == Shape{4, 30});
  CHECK(y.value().raw() == x.raw());
  CHECK(Flatten()(Variable(Tensor::zeros({7}))).shape() == Shape{7, 1});
  CHECK(Flatten().describe().kind == "flatten");
}

}  // namespace
}  // namespace espalier
