// Blocks for tensor cores: the format gives back the rounded weight, and the product equals the dense one with zeros of
// the rounded operands, in double.
#include "kernels/sparse/block_csr_tensor_core.h"

#include <doctest/doctest.h>

#include "kernels/require.h"
#include "tests/support/narrow.h"
#include "tests/support/rounded_product.h"
#include "tests/support/sparse_buffers.h"

namespace espalier::test {
namespace {

using kernels::Activation;
using kernels::bfloat16;
using kernels::half;

template <class T>
struct Buffers {
  Buffers(std::int64_t rows, std::int64_t columns, std::int64_t block, const std::vector<float>& weight)
      : layout{rows, columns, block}, offsets(std::size_t(layout.groups()) + 1), chunk_columns(0), values(0) {
    const BlockCsrBuffers blocks(rows, columns, {block, block}, weight);
    kernels::block_tensor_steps<T>(blocks.view(), offsets.data(), nullptr);
    layout.steps = offsets.download().back(), layout.step_offsets = offsets.data();
    chunk_columns = GuardedBuffer<std::int32_t>(std::size_t(layout.steps * layout.kChunks));
    values = GuardedBuffer<T>(std::size_t(layout.steps * block * layout.kDepth));
    kernels::block_tensor_fill(blocks.view(), layout, chunk_columns.data(), values.data(), nullptr);
    layout.chunk_columns = chunk_columns.data(), layout.values = values.data();
  }
  bool guards_intact() const {
    return offsets.guards_intact() && chunk_columns.guards_intact() && values.guards_intact();
  }
  kernels::BlockTensorView<T> layout;
  GuardedBuffer<std::int32_t> offsets, chunk_columns;
  GuardedBuffer<T> values;
};

// Each block lives or falls as a whole.
std::vector<float> block_weight(std::int64_t rows, std::int64_t columns, std::int64_t block, double sparsity) {
  std::vector<float> weight = sparse_weight(rows, columns, 0.0, 5);
  const std::int64_t across = (columns + block - 1) / block;
  const std::vector<float> lives = sparse_weight((rows + block - 1) / block, across, sparsity, 6);
  for (std::size_t i = 0; i < weight.size(); ++i) {
    const std::int64_t row = std::int64_t(i) / columns, column = std::int64_t(i) % columns;
    if (lives[std::size_t(row / block * across + column / block)] == 0.0f) weight[i] = 0.0f;
  }
  return weight;
}

struct Problem {
  std::int64_t batch, rows, columns, block;
  double sparsity = 0.6;
  Activation activation = Activation::relu;
};

template <class T>
void check(const Problem& p) {
  CAPTURE(p.batch);
  CAPTURE(p.rows);
  CAPTURE(p.columns);
  CAPTURE(p.block);
  const auto weight = block_weight(p.rows, p.columns, p.block, p.sparsity);
  const Buffers<T> blocks(p.rows, p.columns, p.block, weight);
  CHECK(blocks.guards_intact());
  check_rounded_product<T>(p, weight, kernels::block_operand_size(p.batch, blocks.layout),
                           [&](const float* x, const auto& epilogue, float* y, T* operand) {
                             kernels::block_csr_tensor_core(p.batch, blocks.layout, x, epilogue, y, operand, nullptr);
                           });
}

template <class T>
void check_products() {
  for (const std::int64_t block : {8, 16, 32}) {
    for (const std::int64_t columns : {1, 33, 200}) check<T>({5, 40, columns, block});
    for (const std::int64_t rows : {1, 31, 65}) check<T>({3, rows, 70, block});
    for (const double sparsity : {0.0, 1.0}) check<T>({3, 40, 70, block, sparsity});
  }
  for (const std::int64_t batch : {1, 127, 129}) check<T>({batch, 33, 70, 16});
  check<T>({9, 40, 100, 8, 0.5, Activation::gelu});
  check<T>({9, 40, 100, 32, 0.5, Activation::leaky_relu});
}

template <class T>
void check_round_trip() {
  for (const std::int64_t block : {8, 16, 32}) {
    for (const double sparsity : {0.0, 0.7, 1.0}) {
      const auto weight = sparse_weight(45, 70, sparsity, 3);
      const Buffers<T> blocks(45, 70, block, weight);
      GuardedBuffer<float> decoded(weight.size());
      kernels::block_tensor_decode(blocks.layout, decoded.data(), nullptr);
      CHECK(decoded.guards_intact());
      CHECK(decoded.download() == floats(rounded<T>(weight)));
    }
  }
}

TEST_CASE("blocks for tensor cores: decode(encode(w)) is w rounded, in every format") {
  check_round_trip<half>();
  check_round_trip<bfloat16>();
  check_round_trip<float>();
}

TEST_CASE("block_csr_tensor_core equals the dense product of the rounded operands") {
  if (kernels::has_tensor_cores_for(kernels::Precision::fp16)) check_products<half>();
  if (!kernels::has_tensor_cores_for(kernels::Precision::bf16)) return;
  check_products<bfloat16>();
  check_products<float>();
}

TEST_CASE("block_csr_tensor_core refuses blocks that it has no kernel for") {
  CHECK_THROWS_WITH_AS(kernels::block_csr_tensor_core<half>(1, {4, 4, 4}, nullptr, {}, nullptr, nullptr, nullptr),
                       "block_csr_tensor_core: blocks of 4; there are kernels for 8, 16 and 32", InvalidArgument);
}

}  // namespace
}  // namespace espalier::test
