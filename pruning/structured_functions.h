// Products with a weight of structured sparsity, as steps of a Plan; see sparse_functions.h.
#pragma once
#include "pruning/sparse_functions.h"
#include "pruning/structured_format.h"

namespace espalier::pruning {

struct VectorNmDenseFunction final : SparseFunction {
  explicit VectorNmDenseFunction(VectorNm vectors) : weight(std::move(vectors)) {}
  std::string_view name() const override { return "dense, vector n:m"; }
  Tensor forward(const Tensors& inputs, Context& context) const override;
  VectorNm weight;
};

// Rounds x to the format of T, as the dense product of that precision does.
template <class T>
struct TwoFourTensorFunction final : SparseFunction {
  explicit TwoFourTensorFunction(TwoFourTensor<T> two_four) : weight(std::move(two_four)) {}
  std::string_view name() const override { return "dense, 2:4 on tensor cores"; }
  Tensor forward(const Tensors& inputs, Context& context) const override;
  TwoFourTensor<T> weight;
};

template <class T>
struct BlockTensorFunction final : SparseFunction {
  explicit BlockTensorFunction(BlockTensor<T> blocks) : weight(std::move(blocks)) {}
  std::string_view name() const override { return "dense, block csr on tensor cores"; }
  Tensor forward(const Tensors& inputs, Context& context) const override;
  BlockTensor<T> weight;
};

}  // namespace espalier::pruning
