#include "pruning/operand_conv2d.h"

#include "core/device/stream.h"
#include "kernels/gemm_tensor_core.h"
#include "layers/reduced_precision.h"
#include "layers/scratch.h"

namespace espalier::pruning {
namespace {

// visit(T()) with the type that holds operands of the precision.
template <class Visit>
auto with_type(Precision precision, const Visit& visit) {
  if (precision == Precision::fp16) return visit(kernels::half());
  if (precision == Precision::bf16) return visit(kernels::bfloat16());
  return visit(float());
}

}  // namespace

bool ArrangedConv2dFunction::takes(const kernels::Conv2dShape& shape, Precision precision) {
  return kernels::has_tensor_cores_for(precision) &&
         with_type(precision, [&]<class T>(T) { return kernels::takes_arranged<T>(shape); });
}

ArrangedConv2dFunction::ArrangedConv2dFunction(const Tensor& dense, const kernels::Conv2dShape& problem, Precision of,
                                               kernels::ConvPool after)
    : OperandConv2dFunction(problem, of, after) {
  const Tensor rounded = operand(dense, precision);
  weight = Tensor::empty({kernels::conv2d_arranged_size(shape)}, rounded.dtype());
  with_type(precision, [&]<class T>(T) {
    kernels::conv2d_arrange(shape, static_cast<const T*>(rounded.raw()), static_cast<T*>(weight.raw()),
                            current_stream());
  });
}

Tensor ArrangedConv2dFunction::forward(const Tensors& inputs, Context&) const {
  Tensor y = result(inputs[0]);
  const float* shift = bias.defined() ? static_cast<const float*>(bias.data<float>()) : nullptr;
  with_type(precision, [&]<class T>(T) {
    const Scratch scratch(takes_operand ? 0 : kernels::conv2d_arranged_workspace<T>(shape));
    kernels::conv2d_forward_arranged(shape, images<T>(inputs[0], y), static_cast<const T*>(weight.raw()), shift,
                                     activation, slope, pool, scratch.get(), current_stream());
  });
  return y;
}

Tensor OperandConv2dFunction::result(const Tensor& x) const {
  if (!takes_operand) check_input(*this, x, shape);
  const Tensor y = output_of(shape, pool);
  if (!leaves_operand) return y;
  const Shape& of = y.shape();
  return Tensor::empty({of[0], of[2], of[3], of[1]}, precision == Precision::tf32   ? DType::f32
                                                     : precision == Precision::bf16 ? DType::bf16
                                                                                    : DType::f16);
}

std::optional<LinkedConvolutions> linked(const Function& before, const Function& after) {
  const auto* const maker = dynamic_cast<const OperandConv2dFunction*>(&before);
  const auto* const reader = dynamic_cast<const OperandConv2dFunction*>(&after);
  if (!maker || !reader || maker->precision != reader->precision) return std::nullopt;
  if (!kernels::channels_are_eights(reader->shape) || !kernels::is_straight(maker->activation)) return std::nullopt;
  const auto leaves = maker->copy(), takes = reader->copy();
  leaves->leaves_operand = takes->takes_operand = true;
  return LinkedConvolutions{leaves, takes};
}

}  // namespace espalier::pruning
