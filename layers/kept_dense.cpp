#include "layers/kept_dense.h"

#include "core/device/stream.h"
#include "kernels/require.h"
#include "kernels/sparse/csr_sddmm.h"
#include "kernels/sparse/csr_spmm.h"
#include "kernels/sparse/kept.h"

namespace espalier {
namespace {

Tensor panels_of(const Tensor& x) {  // [batch, features]
  const kernels::PanelShape shape = kernels::panel_shape(x.shape()[0], x.shape()[1], kernels::SparseTeam::automatic);
  Tensor panels = Tensor::empty({shape.elements()});
  kernels::make_panels(shape, x.data<float>(), panels.data<float>(), kernels::SparseTeam::automatic, current_stream());
  return panels;
}

}  // namespace

Tensor KeptDenseFunction::forward(const Tensors& inputs, Context& context) const {
  const Tensor& x = inputs[0];
  const kernels::KeptView& view = kept->view();
  require(x.shape().rank() == 2, label, ": input ", x.shape().to_string(),
          " must be [batch, features]; put a Flatten() before it");
  require(x.shape()[1] == view.columns, label, ": input has ", x.shape()[1], " features, weight expects ", view.columns,
          "; did the image size or a pool change?");
  const auto values = inputs[1].data<float>();
  float* transposed = nullptr;
  if (context.recording && context.needs(0)) transposed = kept->transposed_values.data<float>();
  kernels::kept_gather(view, weight.data<float>(), values, transposed, current_stream());
  const Tensor x_panels = panels_of(x);
  Tensor y = Tensor::empty({x.shape()[0], view.rows});
  kernels::BiasActivation epilogue{.activation = activation, .slope = slope};
  if (inputs.size() > 2) epilogue.bias = inputs[2].data<float>();
  kernels::csr_spmm_of_panels(x.shape()[0], view.with(values), x_panels.data<float>(), epilogue, y.data<float>(),
                              current_stream());
  if (context.recording) {
    context.saved = {x_panels, y};
    if (kept->sampled_by == SampledBy::vendor) context.saved.push_back(x);
    context.saved_shapes = {x.shape()};
  }
  return y;
}

Tensors KeptDenseFunction::backward(const Tensor& dy, const Context& context) const {
  const kernels::KeptView& view = kept->view();
  const Tensor dz = product_gradient(dy, context.saved[1], context);
  const bool by_vendor = kept->sampled_by == SampledBy::vendor;
  const Tensor dz_panels = by_vendor && !context.needs(0) ? Tensor() : panels_of(dz);
  const Shape& x_shape = context.saved_shapes[0];
  Tensors gradients(context.needs_gradient.size());
  const bool with_bias = gradients.size() > 2 && context.needs(2);
  if (by_vendor) {
    gradients[1] = Tensor::empty({view.kept});
    kept->sampled_product(x_shape[0])(dz.data<float>(), context.saved[2].data<float>(), gradients[1].data<float>(),
                                      current_stream());
    if (with_bias) gradients[2] = sums_over_batch(dz);
  } else if (context.needs(1) || with_bias) {
    gradients[1] = Tensor::empty({view.kept});
    float* row_sums = nullptr;
    if (with_bias) row_sums = (gradients[2] = Tensor::empty({view.rows})).data<float>();
    kernels::csr_sddmm(x_shape[0], view, dz_panels.data<float>(), context.saved[0].data<float>(),
                       gradients[1].data<float>(), row_sums, current_stream());
  }
  if (context.needs(0)) {
    gradients[0] = Tensor::empty(x_shape);
    kernels::csr_spmm_of_panels(x_shape[0], view.transposed_with(kept->transposed_values.data<float>()),
                                dz_panels.data<float>(), {}, gradients[0].data<float>(), current_stream());
  }
  return gradients;
}

}  // namespace espalier
