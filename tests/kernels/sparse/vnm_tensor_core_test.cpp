// V:N:M for sparse tensor cores: the format gives back the rounded weight, and the product equals the dense one with
// zeros of the rounded operands, in double.
#include "kernels/sparse/vnm_tensor_core.h"

#include <doctest/doctest.h>

#include "kernels/require.h"
#include "kernels/sparse/two_four_tensor_core.h"
#include "tests/support/narrow.h"
#include "tests/support/rounded_product.h"
#include "tests/support/sparse_problems.h"

namespace espalier::test {
namespace {

using kernels::Activation;
using kernels::bfloat16;
using kernels::half;

// Four columns of each window, which change from group to group, and in them two weights of each row (tf32: one of the
// first two kept columns, one of the others); a last group of one row would leave columns free. The first row is empty.
template <class T>
std::vector<float> obedient_weight(std::int64_t rows, std::int64_t columns, std::int64_t height, std::int64_t window) {
  const auto values = sparse_weight(rows, columns, 0.0, 3);
  std::vector<float> weight(values.size());
  for (std::int64_t row = 1; row < rows; ++row) {
    for (std::int64_t first = 0, w = 0; first < columns; first += window, ++w) {
      const std::int64_t width = std::min(window, columns - first),
                         start = (row / height + w) % std::max<std::int64_t>(width - 3, 1);
      for (const std::int64_t slot : {row % 2, 2 + (row + w) % 2}) {
        const std::int64_t column = first + start + slot;
        if (slot < width && column < columns) weight[std::size_t(row * columns + column)] = values[std::size_t(column)];
      }
    }
  }
  return weight;
}

template <class T>
struct Buffers {
  Buffers(const kernels::WeightShape& shape, std::int64_t height, std::int64_t window, const std::vector<float>& weight)
      : layout(kernels::vnm_layout<T>(shape, height, window)),
        column_indices(std::size_t(layout.groups() * layout.kept.padded_columns())),
        values(std::size_t(layout.kept.values_size())),
        metadata(std::size_t(layout.kept.metadata_size())),
        scratch(std::size_t(layout.rows * layout.kept_columns())) {
    const GuardedBuffer<float> dense(weight);
    GuardedBuffer<std::int32_t> counts(2);
    kernels::vnm_tensor_encode(layout, dense.data(), scratch.data(), column_indices.data(), values.data(),
                               metadata.data(), reinterpret_cast<kernels::VnmViolations*>(counts.data()), nullptr);
    const auto counted = counts.download();
    violations = {counted[0], counted[1]};
    layout.kept.values = values.data(), layout.kept.metadata = metadata.data();
    layout.column_indices = column_indices.data();
  }
  bool guards_intact() const {
    return values.guards_intact() && metadata.guards_intact() && column_indices.guards_intact() &&
           scratch.guards_intact();
  }
  kernels::VnmTensorView<T> layout;
  GuardedBuffer<std::int32_t> column_indices;
  GuardedBuffer<T> values;
  GuardedBuffer<std::uint32_t> metadata;
  GuardedBuffer<float> scratch;
  kernels::VnmViolations violations;
};

template <class T>
void check_round_trip() {
  for (const auto& [rows, columns] : {std::pair<std::int64_t, std::int64_t>{1, 1}, {3, 9}, {66, 63}, {130, 130}}) {
    for (const std::int64_t window : {4, 5, 32}) {
      CAPTURE(rows);
      CAPTURE(window);
      const auto weight = obedient_weight<T>(rows, columns, 64, window);
      const Buffers<T> buffers({rows, columns}, 64, window, weight);
      CHECK(buffers.violations.windows == 0);
      CHECK(buffers.violations.groups == 0);
      CHECK(buffers.guards_intact());
      GuardedBuffer<float> decoded(weight.size()), scratch(buffers.scratch.size());
      kernels::vnm_tensor_decode(buffers.layout, scratch.data(), decoded.data(), nullptr);
      CHECK(decoded.guards_intact());
      CHECK(decoded.download() == floats(rounded<T>(weight)));
    }
  }
}

struct Problem {
  std::int64_t batch, rows, columns, height = 64, window = 8;
  Activation activation = Activation::relu;
};

template <class T>
void check(const Problem& p) {
  CAPTURE(p.batch);
  CAPTURE(p.rows);
  CAPTURE(p.columns);
  CAPTURE(p.height);
  const auto weight = obedient_weight<T>(p.rows, p.columns, p.height, p.window);
  const Buffers<T> buffers({p.rows, p.columns}, p.height, p.window, weight);
  check_rounded_product<T>(p, weight, kernels::vnm_operand_size(p.batch, buffers.layout),
                           [&](const float* x, const auto& epilogue, float* y, T* operand) {
                             kernels::vnm_tensor_core(p.batch, buffers.layout, x, epilogue, y, operand, nullptr);
                           });
}

template <class T>
void check_products() {
  for (const std::int64_t columns : {1, 33, 130, 300}) check<T>({5, 20, columns});
  for (const std::int64_t height : {64, 128}) {
    for (const std::int64_t rows : {1, 64, 130, 200}) check<T>({3, rows, 70, height});
  }
  for (const std::int64_t batch : {1, 63, 65, 129}) check<T>({batch, 33, 70, 128});
  for (const std::int64_t window : {4, 7, 32}) check<T>({9, 70, 100, 64, window});
  check<T>({9, 40, 100, 128, 8, Activation::gelu});
}

TEST_CASE("v:n:m for tensor cores: decode(encode(w)) is w rounded, in every format") {
  check_round_trip<half>();
  check_round_trip<bfloat16>();
  check_round_trip<float>();
}

TEST_CASE("v:n:m for tensor cores: windows and groups with too many nonzeros are counted") {
  const auto counted = [](std::int64_t columns, const std::vector<float>& weight) {
    return Buffers<half>({std::int64_t(weight.size()) / columns, columns}, 64, 5, weight).violations;
  };
  CHECK(counted(10, std::vector<float>(20, 1.0f)).windows == 2);
  CHECK(counted(5, {1, 1, 0, 0, 0, 0, 0, 1, 0, 1}).windows == 0);
  CHECK(counted(5, {1, 1, 0, 0, 1}).groups == 1);
}

TEST_CASE("vnm_tensor_core equals the dense product of the rounded operands") {
  if (!kernels::has_sparse_tensor_cores()) return;
  check_products<half>();
  check_products<bfloat16>();
  check_products<float>();
}

TEST_CASE("vnm_tensor_core refuses an empty batch, other heights, and GPUs without sparse tensor cores") {
  const auto refusal = [](std::int64_t batch, std::int64_t height) {
    try {
      kernels::vnm_tensor_core<half>(batch, kernels::vnm_layout<half>({4, 4}, height, 4), nullptr, {}, nullptr, nullptr,
                                     nullptr);
    } catch (const InvalidArgument& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  CHECK(refusal(0, 64) == "vnm_tensor_core: batch 0, weight 4 x 4; all must be at least 1");
  CHECK(refusal(1, 32) == "vnm_tensor_core: groups of 32 rows; there are kernels for multiples of 64");
  if (kernels::has_sparse_tensor_cores()) return;
  CHECK(refusal(1, 64).starts_with("vnm_tensor_core: sparse tensor cores begin with compute capability 8.0"));
}

}  // namespace
}  // namespace espalier::test
