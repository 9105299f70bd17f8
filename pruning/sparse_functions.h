// Products with an encoded weight, as steps of a Plan: they hold weight and bias and take x alone. A plan never runs
// backward, so neither do they.
#pragma once
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "core/device/gpu_model.h"
#include "core/device/precision.h"
#include "kernels/sparse/csr_conv2d.h"
#include "kernels/vendor/sparse.h"
#include "layers/pool2d.h"
#include "layers/product.h"
#include "pruning/format.h"

namespace espalier::pruning {

struct SparseFunction : Function {
  Tensor bias;  // undefined: none
  kernels::Activation activation = kernels::Activation::none;
  float slope = kernels::kDefaultLeakySlope;

  Tensors backward(const Tensor& output_gradient, const Context& context) const final;
  kernels::BiasActivation epilogue() const;
};

// y [batch, rows] for x [batch, columns], after a check that they fit.
Tensor output_of(const Function& function, const Tensor& x, std::int64_t rows, std::int64_t columns);

// How the rows of a Csr lie in memory: as they are, or as one of the kernels of a GPU wants them.
enum class CsrArrangement {
  rows,
  pieces,
  fp16_pieces,
  bf16_pieces,
  panel,
  fp16_panel,
  bf16_panel,
  slabs,
  fp16_slabs,
  bf16_slabs
};
std::string_view name_of(CsrArrangement arrangement);

// Those that a product at such a batch may profit from: on a GPU pieces for a few samples, a resident panel up to a few
// tiles, slabs where a tile of samples is filled; on a CPU rows. Where products may compute in 16 bits, the values of a
// few samples' product may have so many, else x: that is what reading them costs. Those of such an x are named on a
// CPU, too, for models of GPUs.
std::vector<CsrArrangement> csr_arrangements(const Csr& csr, std::int64_t batch, Precision precision);
bool reads_x_in_16_bits(CsrArrangement arrangement);

// Of the product in that arrangement on a GPU, rows being what is best there: one where it reads rows for few samples,
// or where a panel holds all columns; else something goes before it or follows it.
std::function<int(const GpuModel&)> launches_on_gpu(const Csr& csr, std::int64_t batch, CsrArrangement arrangement);

// Any batch is right; the arrangement is made for the one expected.
struct CsrDenseFunction final : SparseFunction {
  explicit CsrDenseFunction(Csr csr, std::int64_t expected_batch = 1,
                            CsrArrangement arrangement = CsrArrangement::rows);
  std::string_view name() const override { return "dense, csr"; }
  Tensor forward(const Tensors& inputs, Context& context) const override;
  std::int64_t bytes() const;  // of the weight as arranged
  Csr weight;
  std::variant<std::monostate, PieceCsr<float>, PieceCsr<kernels::half>, PieceCsr<kernels::bfloat16>, ResidentCsr,
               SlabCsr>
      arranged;
};

// The vendor's product, at one batch; Weight is Csr, BlockCsr or BlockedEll.
template <class Weight>
struct VendorDenseFunction final : SparseFunction {
  VendorDenseFunction(Weight encoded, std::int64_t samples);
  std::string_view name() const override { return "dense, vendor's sparse"; }
  Tensor forward(const Tensors& inputs, Context& context) const override;
  Weight weight;
  std::int64_t batch;
  kernels::vendor::SparseProduct product;
  Tensor workspace;
};

struct BlockCsrDenseFunction final : SparseFunction {
  explicit BlockCsrDenseFunction(BlockCsr blocks) : weight(std::move(blocks)) {}
  std::string_view name() const override { return "dense, block csr"; }
  Tensor forward(const Tensors& inputs, Context& context) const override;
  BlockCsr weight;
};

struct TwoFourDenseFunction final : SparseFunction {
  explicit TwoFourDenseFunction(TwoFour two_four) : weight(std::move(two_four)) {}
  std::string_view name() const override { return "dense, 2:4"; }
  Tensor forward(const Tensors& inputs, Context& context) const override;
  TwoFour weight;
};

struct CsrConv2dFunction final : SparseFunction {
  CsrConv2dFunction(Csr csr, const kernels::Conv2dShape& problem, kernels::ConvPool pool = kernels::ConvPool::none);
  std::string_view name() const override { return "conv2d, csr"; }
  Tensor forward(const Tensors& inputs, Context& context) const override;
  Csr weight;
  kernels::Conv2dShape shape;
  kernels::CsrConv2dLayout layout;
  Tensor offsets;  // in place of the weight's column indices
};

// x of the shape that a convolution was compiled for, checked; and what it makes of it.
void check_input(const Function& function, const Tensor& x, const kernels::Conv2dShape& shape);
Tensor output_of(const kernels::Conv2dShape& shape, kernels::ConvPool pool);

// The dense product of a reduced precision: its weight, too, is rounded when the plan is made, not in every run.
struct RoundedFunction final : Function {
  RoundedFunction(std::shared_ptr<ProductFunction> dense, const Tensors& inputs);  // x, weight and, if any, bias
  std::string_view name() const override { return product->name(); }
  Tensor forward(const Tensors& inputs, Context& context) const override;
  Tensors backward(const Tensor& output_gradient, const Context& context) const override;
  std::shared_ptr<ProductFunction> product;
  Tensors parameters;
};

// Any product, then the max pool that halves its images: what stands beside a fused block.
struct PooledFunction final : Function {
  explicit PooledFunction(std::shared_ptr<const Function> before) : product(std::move(before)) {}
  std::string_view name() const override { return "product, max_pool2d"; }
  Tensor forward(const Tensors& inputs, Context& context) const override;
  Tensors backward(const Tensor& output_gradient, const Context& context) const override;
  std::shared_ptr<const Function> product;
};

}  // namespace espalier::pruning
