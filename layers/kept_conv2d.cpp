#include "layers/kept_conv2d.h"

#include "core/device/stream.h"
#include "kernels/conv2d.h"
#include "kernels/sparse/csr_conv2d_weight.h"
#include "kernels/sparse/kept_conv2d.h"
#include "layers/scratch.h"

namespace espalier {
namespace {

using kernels::Conv2dShape;
using kernels::CsrConv2dLayout;

Tensor offsets_for(std::int64_t kept) { return Tensor::empty({kept}, DType::i32); }

}  // namespace

Tensor KeptConv2dFunction::forward(const Tensors& inputs, Context& context) const {
  const Tensor& x = inputs[0];
  const Conv2dShape shape = convolution.shape_for(x.shape(), weight.shape());
  const CsrConv2dLayout layout = csr_conv2d_layout(shape);
  const kernels::KeptView& view = kept->view();
  const auto values = inputs[1].data<float>();
  const Tensor offsets = offsets_for(view.kept);
  kernels::kept_conv2d_gather(shape, layout, {view.kept, view.column_indices, view.places}, weight.data<float>(),
                              values, offsets.data<std::int32_t>(), current_stream());
  Tensor y = Tensor::empty({shape.batch, shape.filters, shape.out_height(), shape.out_width()});
  kernels::BiasActivation epilogue{.activation = activation, .slope = slope};
  if (inputs.size() > 2) epilogue.bias = inputs[2].data<float>();
  kernels::CsrView by_offset = view.with(values);
  by_offset.column_indices = offsets.data<std::int32_t>();
  kernels::csr_conv2d(shape, layout, by_offset, x.data<float>(), epilogue, y.data<float>(), current_stream());
  if (context.recording) {
    context.saved = {x, offsets};
    if (activation != kernels::Activation::none) context.saved.push_back(y);
  }
  return y;
}

Tensors KeptConv2dFunction::backward(const Tensor& dy, const Context& context) const {
  const Tensor &x = context.saved[0], &offsets = context.saved[1];
  const Conv2dShape shape = convolution.shape_for(x.shape(), weight.shape());
  const Tensor dz = product_gradient(dy, context.saved.back(), context);
  Tensors gradients(context.needs_gradient.size());
  const bool with_bias = gradients.size() > 2 && context.needs(2);
  if (context.needs(1) || with_bias) {
    const kernels::KeptView& view = kept->view();
    const CsrConv2dLayout layout = csr_conv2d_layout(shape);
    gradients[1] = Tensor::empty({view.kept});
    float* db = nullptr;
    if (with_bias) db = (gradients[2] = Tensor::empty({shape.filters})).data<float>();
    const Scratch scratch(csr_conv2d_weight_scratch(shape, layout, view.kept));
    kernels::csr_conv2d_weight(shape, layout, {view.kept, view.row_offsets, offsets.data<std::int32_t>()},
                               x.data<float>(), dz.data<float>(), gradients[1].data<float>(), db, scratch.memory().data,
                               current_stream());
  }
  if (context.needs(0)) gradients[0] = input_gradient(shape, dz);
  return gradients;
}

Tensor KeptConv2dFunction::input_gradient(const Conv2dShape& shape, const Tensor& dz) const {
  Tensor dx = Tensor::empty({shape.batch, shape.channels, shape.height, shape.width});
  const std::optional<Conv2dShape> flipped = kernels::input_gradient_shape(shape);
  if (!flipped) {
    const Scratch scratch(kernels::conv2d_backward_input_workspace(shape));
    kernels::conv2d_backward_input(shape, dz.data<float>(), weight.data<float>(), dx.data<float>(), current_stream(),
                                   kernels::Conv2dMethod::fastest, scratch.memory());
    return dx;
  }
  const CsrConv2dLayout layout = csr_conv2d_layout(*flipped);
  const kernels::KeptColumns columns = kept->flipped();
  const Tensor values = Tensor::empty({columns.kept}), offsets = offsets_for(columns.kept);
  kernels::kept_conv2d_gather(*flipped, layout, columns, weight.data<float>(), values.data<float>(),
                              offsets.data<std::int32_t>(), current_stream());
  const kernels::CsrView by_offset{
      flipped->filters,    flipped->patch(), columns.kept, kept->flipped_row_offsets(), offsets.data<std::int32_t>(),
      values.data<float>()};
  kernels::csr_conv2d(*flipped, layout, by_offset, dz.data<float>(), {}, dx.data<float>(), current_stream());
  return dx;
}

}  // namespace espalier
