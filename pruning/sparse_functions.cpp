#include "pruning/sparse_functions.h"

#include <algorithm>
#include <string>

#include "core/device/stream.h"
#include "kernels/require.h"
#include "kernels/sparse/block_csr_spmm.h"
#include "kernels/sparse/two_four_spmm.h"
#include "layers/reduced_precision.h"
#include "pruning/structured_format.h"

namespace espalier::pruning {
namespace {

Tensor floats(std::int64_t count) { return Tensor::empty({std::max<std::int64_t>(count, 1)}); }

[[noreturn]] void refuse_backward(const Function& step) {
  throw InvalidArgument(std::string(step.name()) +
                        ": a plan's step has no backward; train the model it was compiled from");
}

Tensor panels_for(const Tensor& x) {
  return floats(kernels::panel_shape(x.shape()[0], x.shape()[1], kernels::SparseTeam::automatic).elements());
}

}  // namespace

Tensor output_of(const Function& function, const Tensor& x, std::int64_t rows, std::int64_t columns) {
  require(x.shape().rank() == 2 && x.shape()[1] == columns, std::string(function.name()), ": input ",
          x.shape().to_string(), ", the weight expects [batch, ", columns, "]");
  return Tensor::empty({x.shape()[0], rows});
}

Tensors SparseFunction::backward(const Tensor&, const Context&) const { refuse_backward(*this); }

kernels::BiasActivation SparseFunction::epilogue() const {
  return {bias.defined() ? static_cast<const float*>(bias.data<float>()) : nullptr, activation, slope};
}

template <class Weight>
VendorDenseFunction<Weight>::VendorDenseFunction(Weight encoded, std::int64_t samples)
    : weight(std::move(encoded)),
      batch(samples),
      product(weight.view(), batch),
      workspace(floats(product.workspace_floats())) {
  product.prepare(workspace.template data<float>(), current_stream());
}

template <class Weight>
Tensor VendorDenseFunction<Weight>::forward(const Tensors& inputs, Context&) const {
  const auto view = weight.view();
  Tensor y = output_of(*this, inputs[0], view.rows, view.columns);
  require(y.shape()[0] == batch, std::string(name()), ": input ", inputs[0].shape().to_string(),
          ", compiled for a batch of ", batch);
  product(inputs[0].data<float>(), epilogue(), y.data<float>(), current_stream());
  return y;
}

template struct VendorDenseFunction<Csr>;
template struct VendorDenseFunction<BlockCsr>;
template struct VendorDenseFunction<BlockedEll>;

Tensor BlockCsrDenseFunction::forward(const Tensors& inputs, Context&) const {
  const Tensor& x = inputs[0];
  const kernels::BlockCsrView view = weight.view();
  Tensor y = output_of(*this, x, view.rows, view.columns);
  const Tensor panels = panels_for(x);
  kernels::block_csr_spmm(x.shape()[0], view, x.data<float>(), epilogue(), y.data<float>(), panels.data<float>(),
                          current_stream());
  return y;
}

Tensor TwoFourDenseFunction::forward(const Tensors& inputs, Context&) const {
  const Tensor& x = inputs[0];
  const kernels::TwoFourView view = weight.view();
  Tensor y = output_of(*this, x, view.rows, view.columns);
  const Tensor panels = panels_for(x);
  kernels::two_four_spmm(x.shape()[0], view, x.data<float>(), epilogue(), y.data<float>(), panels.data<float>(),
                         current_stream());
  return y;
}

CsrConv2dFunction::CsrConv2dFunction(Csr csr, const kernels::Conv2dShape& problem, kernels::ConvPool pool)
    : weight(std::move(csr)),
      shape(problem),
      layout(kernels::csr_conv2d_layout(problem, kernels::SparseTeam::automatic, pool)) {
  const kernels::CsrView view = weight.view();
  offsets = Tensor::empty({std::max<std::int64_t>(view.nonzeros, 1)}, DType::i32);
  kernels::csr_conv2d_offsets(shape, layout, view, offsets.data<std::int32_t>(), current_stream());
}

Tensor CsrConv2dFunction::forward(const Tensors& inputs, Context&) const {
  check_input(*this, inputs[0], shape);
  kernels::CsrView by_offset = weight.view();
  by_offset.column_indices = offsets.data<std::int32_t>();
  Tensor y = output_of(shape, layout.pool);
  kernels::csr_conv2d(shape, layout, by_offset, inputs[0].data<float>(), epilogue(), y.data<float>(), current_stream());
  return y;
}

void check_input(const Function& function, const Tensor& x, const kernels::Conv2dShape& shape) {
  const Shape expected{shape.batch, shape.channels, shape.height, shape.width};
  require(x.shape() == expected, std::string(function.name()), ": input ", x.shape().to_string(), ", compiled for ",
          expected.to_string());
}

Tensor output_of(const kernels::Conv2dShape& shape, kernels::ConvPool pool) {
  const std::int64_t step = pool == kernels::ConvPool::halves ? 2 : 1;
  return Tensor::empty({shape.batch, shape.filters, shape.out_height() / step, shape.out_width() / step});
}

RoundedFunction::RoundedFunction(std::shared_ptr<ProductFunction> dense, const Tensors& inputs)
    : product(std::move(dense)), parameters{operand(inputs[1], product->precision)} {
  product->weight_rounded = true;
  if (inputs.size() > 2) parameters.push_back(inputs[2].clone());
}

Tensor RoundedFunction::forward(const Tensors& inputs, Context& context) const {
  Tensors all{inputs[0]};
  all.insert(all.end(), parameters.begin(), parameters.end());
  return product->forward(all, context);
}

Tensors RoundedFunction::backward(const Tensor&, const Context&) const { refuse_backward(*this); }

Tensor PooledFunction::forward(const Tensors& inputs, Context& context) const {
  const MaxPool2dFunction halving{PoolWindow(2, 2, 0)};
  return halving.forward({product->forward(inputs, context)}, context);
}

Tensors PooledFunction::backward(const Tensor&, const Context&) const { refuse_backward(*this); }

}  // namespace espalier::pruning
