#include "pruning/structured_functions.h"

#include <algorithm>

#include "core/device/stream.h"
#include "kernels/sparse/block_conv2d.h"
#include "kernels/sparse/block_csr_tensor_core.h"
#include "kernels/sparse/two_four_conv2d.h"
#include "kernels/sparse/two_four_tensor_core.h"
#include "kernels/sparse/vector_nm_spmm.h"

namespace espalier::pruning {

Tensor VectorNmDenseFunction::forward(const Tensors& inputs, Context&) const {
  const Tensor& x = inputs[0];
  const kernels::VectorNmView view = weight.view();
  Tensor y = output_of(*this, x, view.rows, view.columns);
  const std::int64_t batch = x.shape()[0];
  const Tensor panels = Tensor::empty({kernels::vector_nm_panels(batch, view).elements()});
  kernels::vector_nm_spmm(batch, view, x.data<float>(), epilogue(), y.data<float>(), panels.data<float>(),
                          current_stream());
  return y;
}

VectorNmConv2dFunction::VectorNmConv2dFunction(VectorNm vectors, const kernels::Conv2dShape& problem,
                                               kernels::ConvPool pool)
    : weight(std::move(vectors)),
      shape(problem),
      layout(kernels::vector_nm_conv2d_layout(problem, kernels::SparseTeam::automatic, pool)) {
  const kernels::VectorNmView view = weight.view();
  offsets = Tensor::empty({std::max<std::int64_t>(view.vectors, 1)}, DType::i32);
  kernels::csr_conv2d_offsets(shape, layout, view.vectors, view.column_indices, offsets.data<std::int32_t>(),
                              current_stream());
}

Tensor VectorNmConv2dFunction::forward(const Tensors& inputs, Context&) const {
  check_input(*this, inputs[0], shape);
  kernels::VectorNmView by_offset = weight.view();
  by_offset.column_indices = offsets.data<std::int32_t>();
  Tensor y = output_of(shape, layout.pool);
  kernels::vector_nm_conv2d(shape, layout, by_offset, inputs[0].data<float>(), epilogue(), y.data<float>(),
                            current_stream());
  return y;
}

namespace {

// launch(batch, view, x, epilogue, y, operand, stream), with scratch for x: so many elements of T.
template <class T, class View, class Launch>
Tensor forward_on_tensor_cores(const SparseFunction& function, const View& view, const Tensor& x, std::int64_t elements,
                               Launch launch) {
  Tensor y = output_of(function, x, view.rows, view.columns);
  const std::int64_t batch = x.shape()[0];
  const Tensor operand = Tensor::empty({elements * std::int64_t(sizeof(T))}, DType::u8);
  launch(batch, view, x.data<float>(), function.epilogue(), y.data<float>(), static_cast<T*>(operand.raw()),
         current_stream());
  return y;
}

}  // namespace

template <class T>
Tensor TwoFourTensorFunction<T>::forward(const Tensors& inputs, Context&) const {
  const kernels::TwoFourTensorView<T> view = weight.view();
  return forward_on_tensor_cores<T>(*this, view, inputs[0], inputs[0].shape()[0] * view.padded_columns(),
                                    kernels::two_four_tensor_core<T>);
}

Tensor channels_last(const Tensor& weight, const kernels::Conv2dShape& shape) {
  const kernels::WeightShape matrix = kernels::two_four_conv2d_matrix(shape);
  Tensor arranged = Tensor::empty({matrix.rows, matrix.columns});
  kernels::two_four_conv2d_arrange(shape, weight.data<float>(), arranged.data<float>(), current_stream());
  return arranged;
}

template <class T>
TwoFourTensorConv2dFunction<T>::TwoFourTensorConv2dFunction(TwoFourTensor<T> two_four,
                                                            const kernels::Conv2dShape& problem,
                                                            kernels::ConvPool after)
    : OperandConv2dFunction(problem, kernels::kPrecisionOf<T>, after), weight(std::move(two_four)) {
  kernels::require_two_four_conv2d<T>(shape);
  const std::int64_t bytes = kernels::two_four_conv2d_taps<T>(shape) * std::int64_t(sizeof(kernels::PatchTap));
  taps = Tensor::empty({bytes}, DType::u8);
  kernels::two_four_conv2d_find_taps<T>(shape, static_cast<kernels::PatchTap*>(taps.raw()), current_stream());
}

template <class T>
Tensor TwoFourTensorConv2dFunction<T>::forward(const Tensors& inputs, Context&) const {
  Tensor y = result(inputs[0]), operand;
  if (!takes_operand) {
    operand = Tensor::empty({kernels::two_four_conv2d_operand_size(shape) * std::int64_t(sizeof(T))}, DType::u8);
  }
  kernels::two_four_conv2d(shape, weight.view(), static_cast<const kernels::PatchTap*>(taps.raw()),
                           images<T>(inputs[0], y), epilogue(), static_cast<T*>(operand.raw()), current_stream(), pool);
  return y;
}

template <class T>
Tensor VnmTensorFunction<T>::forward(const Tensors& inputs, Context&) const {
  const kernels::VnmTensorView<T> view = weight.view();
  return forward_on_tensor_cores<T>(*this, view, inputs[0], kernels::vnm_operand_size(inputs[0].shape()[0], view),
                                    kernels::vnm_tensor_core<T>);
}

template <class T>
Tensor BlockTensorFunction<T>::forward(const Tensors& inputs, Context&) const {
  const kernels::BlockTensorView<T> view = weight.view();
  return forward_on_tensor_cores<T>(*this, view, inputs[0], kernels::block_operand_size(inputs[0].shape()[0], view),
                                    kernels::block_csr_tensor_core<T>);
}

template <class T>
Tensor tap_blocks(const Tensor& weight, const kernels::Conv2dShape& shape) {
  const kernels::WeightShape matrix = kernels::block_conv2d_matrix<T>(shape);
  Tensor arranged = Tensor::empty({matrix.rows, matrix.columns});
  kernels::block_conv2d_arrange<T>(shape, weight.data<float>(), arranged.data<float>(), current_stream());
  return arranged;
}

template <class T>
BlockTensorConv2dFunction<T>::BlockTensorConv2dFunction(FragmentBlocks<T> blocks, const kernels::Conv2dShape& problem,
                                                        kernels::ConvPool after)
    : OperandConv2dFunction(problem, kernels::kPrecisionOf<T>, after), weight(std::move(blocks)) {
  const kernels::FragmentBlocksView<T> view = weight.view();
  taps = Tensor::empty({kernels::block_conv2d_taps(view) * std::int64_t(sizeof(kernels::PatchTap))}, DType::u8);
  kernels::block_conv2d_find_taps(shape, view, static_cast<kernels::PatchTap*>(taps.raw()), current_stream());
}

template <class T>
Tensor BlockTensorConv2dFunction<T>::forward(const Tensors& inputs, Context&) const {
  Tensor y = result(inputs[0]), operand;
  if (!takes_operand) {
    operand = Tensor::empty({kernels::block_conv2d_operand_size(shape) * std::int64_t(sizeof(T))}, DType::u8);
  }
  kernels::block_conv2d(shape, weight.view(), static_cast<const kernels::PatchTap*>(taps.raw()),
                        images<T>(inputs[0], y), epilogue(), static_cast<T*>(operand.raw()), current_stream(), pool);
  return y;
}

template struct TwoFourTensorFunction<kernels::half>;
template struct TwoFourTensorFunction<kernels::bfloat16>;
template struct TwoFourTensorFunction<float>;
template struct TwoFourTensorConv2dFunction<kernels::half>;
template struct TwoFourTensorConv2dFunction<kernels::bfloat16>;
template struct TwoFourTensorConv2dFunction<float>;
template struct VnmTensorFunction<kernels::half>;
template struct VnmTensorFunction<kernels::bfloat16>;
template struct VnmTensorFunction<float>;
template struct BlockTensorFunction<kernels::half>;
template struct BlockTensorFunction<kernels::bfloat16>;
template struct BlockTensorFunction<float>;
template struct BlockTensorConv2dFunction<kernels::half>;
template struct BlockTensorConv2dFunction<kernels::bfloat16>;
template struct BlockTensorConv2dFunction<float>;
template Tensor tap_blocks<kernels::half>(const Tensor&, const kernels::Conv2dShape&);
template Tensor tap_blocks<kernels::bfloat16>(const Tensor&, const kernels::Conv2dShape&);
template Tensor tap_blocks<float>(const Tensor&, const kernels::Conv2dShape&);

}  // namespace espalier::pruning
