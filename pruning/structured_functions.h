// Products with a weight of structured sparsity, as steps of a Plan; see sparse_functions.h.
#pragma once
#include "kernels/sparse/vector_nm_conv2d.h"
#include "pruning/operand_conv2d.h"
#include "pruning/structured_format.h"

namespace espalier::pruning {

struct VectorNmDenseFunction final : SparseFunction {
  explicit VectorNmDenseFunction(VectorNm vectors) : weight(std::move(vectors)) {}
  std::string_view name() const override { return "dense, vector n:m"; }
  Tensor forward(const Tensors& inputs, Context& context) const override;
  VectorNm weight;
};

// A convolution whose filters share columns in vectors, or in blocks of so many rows.
struct VectorNmConv2dFunction final : SparseFunction {
  VectorNmConv2dFunction(VectorNm vectors, const kernels::Conv2dShape& problem,
                         kernels::ConvPool pool = kernels::ConvPool::none);
  std::string_view name() const override { return "conv2d, vector n:m"; }
  Tensor forward(const Tensors& inputs, Context& context) const override;
  VectorNm weight;
  kernels::Conv2dShape shape;
  kernels::CsrConv2dLayout layout;
  Tensor offsets;  // in place of the weight's column indices
};

// Rounds x to the format of T, as the dense product of that precision does.
template <class T>
struct TwoFourTensorFunction final : SparseFunction {
  explicit TwoFourTensorFunction(TwoFourTensor<T> two_four) : weight(std::move(two_four)) {}
  std::string_view name() const override { return "dense, 2:4 on tensor cores"; }
  Tensor forward(const Tensors& inputs, Context& context) const override;
  TwoFourTensor<T> weight;
};

// A convolution whose weights obey 2:4 along the channels of each tap (of tf32: 1:2).
template <class T>
struct TwoFourTensorConv2dFunction final : OperandConv2dFunction {
  // `two_four`: channels_last() of the weight. Throws InvalidArgument for a problem that the kernel does not take.
  TwoFourTensorConv2dFunction(TwoFourTensor<T> two_four, const kernels::Conv2dShape& problem,
                              kernels::ConvPool after = kernels::ConvPool::none);
  std::string_view name() const override { return "conv2d, 2:4 on tensor cores"; }
  Tensor forward(const Tensors& inputs, Context& context) const override;
  std::shared_ptr<OperandConv2dFunction> copy() const override {
    return std::make_shared<TwoFourTensorConv2dFunction>(*this);
  }
  std::int64_t bytes() const { return weight.bytes() + taps.bytes(); }
  TwoFourTensor<T> weight;
  Tensor taps;  // where in a patch a step finds its channels
};
// A convolution's weight as that matrix, in which the channels of a tap are neighbours.
Tensor channels_last(const Tensor& weight, const kernels::Conv2dShape& shape);

template <class T>
struct VnmTensorFunction final : SparseFunction {
  explicit VnmTensorFunction(VnmTensor<T> vnm) : weight(std::move(vnm)) {}
  std::string_view name() const override { return "dense, v:n:m on tensor cores"; }
  Tensor forward(const Tensors& inputs, Context& context) const override;
  VnmTensor<T> weight;
};

template <class T>
struct BlockTensorFunction final : SparseFunction {
  explicit BlockTensorFunction(BlockTensor<T> blocks) : weight(std::move(blocks)) {}
  std::string_view name() const override { return "dense, block csr on tensor cores"; }
  Tensor forward(const Tensors& inputs, Context& context) const override;
  BlockTensor<T> weight;
};

// A convolution whose weights lie in blocks of filters x channels within each tap.
template <class T>
struct BlockTensorConv2dFunction final : OperandConv2dFunction {
  // `blocks`: tap_blocks() of the weight. Throws InvalidArgument for a problem that the kernel does not take.
  BlockTensorConv2dFunction(FragmentBlocks<T> blocks, const kernels::Conv2dShape& problem,
                            kernels::ConvPool after = kernels::ConvPool::none);
  std::string_view name() const override { return "conv2d, block csr on tensor cores"; }
  Tensor forward(const Tensors& inputs, Context& context) const override;
  std::shared_ptr<OperandConv2dFunction> copy() const override {
    return std::make_shared<BlockTensorConv2dFunction>(*this);
  }
  std::int64_t bytes() const { return weight.bytes() + taps.bytes(); }
  FragmentBlocks<T> weight;
  Tensor taps;  // where in a patch a step finds its channels
};
// A convolution's weight as that matrix: the channels of a tap are neighbours, and no block has two taps.
template <class T>
Tensor tap_blocks(const Tensor& weight, const kernels::Conv2dShape& shape);

}  // namespace espalier::pruning
