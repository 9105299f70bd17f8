#include "pruning/structured_functions.h"

#include "core/device/stream.h"
#include "kernels/sparse/two_four_tensor_core.h"
#include "kernels/sparse/vector_nm_spmm.h"

namespace espalier::pruning {

Tensor VectorNmDenseFunction::forward(const Tensors& inputs, Context&) const {
  const Tensor& x = inputs[0];
  const kernels::VectorNmView view = weight.view();
  Tensor y = output_of(*this, x, view.rows, view.columns);
  const std::int64_t batch = x.shape()[0];
  const Tensor panels = Tensor::empty({kernels::vector_nm_panels(batch, view).floats()});
  kernels::vector_nm_spmm(batch, view, x.data<float>(), epilogue(), y.data<float>(), panels.data<float>(),
                          current_stream());
  return y;
}

template <class T>
Tensor TwoFourTensorFunction<T>::forward(const Tensors& inputs, Context&) const {
  const Tensor& x = inputs[0];
  const kernels::TwoFourTensorView<T> view = weight.view();
  Tensor y = output_of(*this, x, view.rows, view.columns);
  const std::int64_t batch = x.shape()[0];
  const Tensor operand = Tensor::empty({batch * view.padded_columns() * std::int64_t(sizeof(T))}, DType::u8);
  kernels::two_four_tensor_core(batch, view, x.data<float>(), epilogue(), y.data<float>(),
                                static_cast<T*>(operand.raw()), current_stream());
  return y;
}

template struct TwoFourTensorFunction<kernels::half>;
template struct TwoFourTensorFunction<kernels::bfloat16>;
template struct TwoFourTensorFunction<float>;

}  // namespace espalier::pruning
