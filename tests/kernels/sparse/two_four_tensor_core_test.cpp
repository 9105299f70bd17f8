// 2:4 for sparse tensor cores: the format gives back the rounded weight, and the product equals the dense one with
// zeros of the rounded operands, in double.
#include "kernels/sparse/two_four_tensor_core.h"

#include <doctest/doctest.h>

#include "kernels/require.h"
#include "tests/support/narrow.h"
#include "tests/support/rounded_product.h"
#include "tests/support/sparse_problems.h"

namespace espalier::test {
namespace {

using kernels::Activation;
using kernels::bfloat16;
using kernels::half;

// Keeps the first of every two neighbours of a row that are both nonzero: what tf32 asks.
void obey_one_two(std::vector<float>& weight, std::int64_t columns) {
  for (std::size_t row = 0; row < weight.size(); row += std::size_t(columns)) {
    for (std::int64_t c = 0; c + 1 < columns; c += 2) {
      if (weight[row + std::size_t(c)] != 0.0f) weight[row + std::size_t(c) + 1] = 0.0f;
    }
  }
}

template <class T>
std::vector<float> obedient_weight(std::int64_t rows, std::int64_t columns, double sparsity) {
  auto weight = sparse_weight(rows, columns, sparsity, 3);
  sizeof(T) == 4 ? obey_one_two(weight, columns) : obey_two_four(weight, columns);
  return weight;
}

template <class T>
struct Buffers {
  Buffers(std::int64_t rows, std::int64_t columns, const std::vector<float>& weight)
      : layout{rows, columns},
        values(std::size_t(layout.values_size())),
        metadata(std::size_t(layout.metadata_size())) {
    const GuardedBuffer<float> dense(weight);
    GuardedBuffer<std::int32_t> count(1);
    kernels::two_four_tensor_encode({rows, columns}, dense.data(), values.data(), metadata.data(), count.data(),
                                    nullptr);
    violations = count.download().front();
    layout.values = values.data(), layout.metadata = metadata.data();
  }
  bool guards_intact() const { return values.guards_intact() && metadata.guards_intact(); }
  kernels::TwoFourTensorView<T> layout;
  GuardedBuffer<T> values;
  GuardedBuffer<std::uint32_t> metadata;
  std::int32_t violations = -1;
};

template <class T>
void check_round_trip() {
  for (const auto& [rows, columns] : {std::pair<std::int64_t, std::int64_t>{1, 1}, {17, 63}, {128, 64}, {129, 130}}) {
    for (const double sparsity : {0.2, 1.0}) {
      const auto weight = obedient_weight<T>(rows, columns, sparsity);
      const Buffers<T> buffers(rows, columns, weight);
      CHECK(buffers.violations == 0);
      CHECK(buffers.guards_intact());
      GuardedBuffer<float> decoded(weight.size());
      kernels::two_four_tensor_decode(buffers.layout, decoded.data(), nullptr);
      CHECK(decoded.guards_intact());
      CHECK(decoded.download() == floats(rounded<T>(weight)));
    }
  }
}

struct Problem {
  std::int64_t batch, rows, columns;
  Activation activation = Activation::relu;
};

template <class T>
void check(const Problem& p) {
  CAPTURE(p.batch);
  CAPTURE(p.rows);
  CAPTURE(p.columns);
  const auto weight = obedient_weight<T>(p.rows, p.columns, 0.3);
  const Buffers<T> buffers(p.rows, p.columns, weight);
  check_rounded_product<T>(p, weight, p.batch * buffers.layout.padded_columns(),
                           [&](const float* x, const auto& epilogue, float* y, T* operand) {
                             kernels::two_four_tensor_core(p.batch, buffers.layout, x, epilogue, y, operand, nullptr);
                           });
}

template <class T>
void check_products() {
  for (const std::int64_t columns : {1, 33, 64, 65, 260}) check<T>({5, 20, columns});
  for (const std::int64_t rows : {1, 15, 128, 130}) check<T>({3, rows, 70});
  for (const std::int64_t batch : {1, 8, 63, 65}) check<T>({batch, 33, 70});
  check<T>({9, 40, 100, Activation::gelu});
  check<T>({9, 40, 100, Activation::leaky_relu});
}

TEST_CASE("2:4 for tensor cores: decode(encode(w)) is w rounded, in every format") {
  check_round_trip<half>();
  check_round_trip<bfloat16>();
  check_round_trip<float>();
}

TEST_CASE("2:4 for tensor cores: groups with too many nonzeros are counted") {
  CHECK(Buffers<half>(2, 8, std::vector<float>(16, 1.0f)).violations == 4);
  CHECK(Buffers<float>(1, 5, {1, 2, 0, 3, 4}).violations == 1);
}

TEST_CASE("two_four_tensor_core equals the dense product of the rounded operands") {
  if (!kernels::has_sparse_tensor_cores()) return;
  check_products<half>();
  check_products<bfloat16>();
  check_products<float>();
}

TEST_CASE("two_four_tensor_core refuses an empty batch, and GPUs without sparse tensor cores") {
  CHECK_THROWS_AS(kernels::two_four_tensor_core<half>(0, {4, 4}, nullptr, {}, nullptr, nullptr, nullptr),
                  InvalidArgument);
  if (kernels::has_sparse_tensor_cores()) return;
  CHECK_THROWS_WITH_AS(kernels::two_four_tensor_core<half>(1, {4, 4}, nullptr, {}, nullptr, nullptr, nullptr),
                       "two_four_tensor_core: sparse tensor cores begin with compute capability 8.0; take "
                       "two_four_spmm, which runs on ordinary cores",
                       InvalidArgument);
}

}  // namespace
}  // namespace espalier::test
