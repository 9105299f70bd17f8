// The product of a sparse weight with operands rounded to T, as tensor cores have it, against doubles.
#pragma once
#include <doctest/doctest.h>

#include <vector>

#include "kernels/sparse/bias_activation.h"
#include "tests/support/narrow.h"
#include "tests/support/sparse_problems.h"

namespace espalier::test {

// launch(x, bias and activation, y, operand), operand [operand_size] being the kernel's room for x; p has batch, rows,
// columns and activation.
template <class T, class Problem, class Launch>
void check_rounded_product(const Problem& p, const std::vector<float>& weight, std::int64_t operand_size,
                           const Launch& launch) {
  const auto x = random_floats(std::size_t(p.batch * p.columns), 1), bias = random_floats(std::size_t(p.rows), 2);
  const auto expected = reference_linear(p.batch, p.rows, p.columns, floats(rounded<T>(x)), floats(rounded<T>(weight)),
                                         bias, p.activation);
  const GuardedBuffer<float> device_x(x), device_bias(bias);
  GuardedBuffer<float> y(expected.size());
  GuardedBuffer<T> operand{std::size_t(operand_size)};
  launch(device_x.data(), kernels::BiasActivation{device_bias.data(), p.activation}, y.data(), operand.data());
  CHECK(y.guards_intact());
  CHECK(operand.guards_intact());
  CHECK(difference(y.download(), expected, 1e-5, sum_tolerance(p.columns)) == "");
}

}  // namespace espalier::test
