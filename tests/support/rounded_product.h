// The product of a sparse weight with operands rounded to T, as tensor cores have it, against doubles.
#pragma once
#include "tests/support/narrow.h"
#include "tests/support/sparse_product.h"

namespace espalier::test {

// launch(x, bias and activation, y, operand), operand [operand_size] being the kernel's room for x; p has batch, rows,
// columns and activation.
template <class T, class Problem, class Launch>
void check_rounded_product(const Problem& p, const std::vector<float>& weight, std::int64_t operand_size,
                           const Launch& launch) {
  const auto as_read = [](const std::vector<float>& values) { return floats(rounded<T>(values)); };
  check_sparse_product<T>(p, as_read(weight), operand_size, launch, as_read);
}

}  // namespace espalier::test
