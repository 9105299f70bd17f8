#include "layers/reduced_precision.h"

#include "core/device/stream.h"
#include "kernels/conv2d_tensor_core.h"
#include "kernels/gemm_tensor_core.h"
#include "kernels/require.h"
#include "layers/scratch.h"

namespace espalier {
namespace {

using kernels::bfloat16, kernels::half;
using kernels::Conv2dDirection, kernels::Conv2dLayout;

constexpr auto kLayout = Conv2dLayout::nchw;

template <class T>
T* address(const Tensor& tensor) {
  return static_cast<T*>(tensor.raw());
}

// visit(x, y) with the addresses of two operands of one type.
template <class Visit>
void with_operands(const Tensor& x, const Tensor& y, const Visit& visit) {
  require(x.dtype() == y.dtype(), "a product of operands in ", std::string(to_string(x.dtype())), " and ",
          std::string(to_string(y.dtype())), "; round both to the same precision");
  if (x.dtype() == DType::f16) return visit(address<const half>(x), address<const half>(y));
  if (x.dtype() == DType::bf16) return visit(address<const bfloat16>(x), address<const bfloat16>(y));
  visit(static_cast<const float*>(x.data<float>()), static_cast<const float*>(y.data<float>()));
}

Precision precision_of(const Tensor& operand) {
  if (operand.dtype() == DType::f16) return Precision::fp16;
  return operand.dtype() == DType::bf16 ? Precision::bf16 : Precision::tf32;
}

Scratch conv2d_scratch(const kernels::Conv2dShape& shape, Conv2dDirection direction, const Tensor& operand) {
  return Scratch(kernels::conv2d_tensor_core_workspace(shape, kLayout, direction, precision_of(operand)));
}

}  // namespace

Tensor operand(const Tensor& x, Precision precision) {
  const auto rounded_to = [&](DType type) { return Tensor::empty(x.shape(), type); };
  switch (precision) {
    case Precision::tf32: {
      const Tensor rounded = rounded_to(DType::f32);
      kernels::round_to_tf32(x.size(), x.data<float>(), rounded.data<float>(), current_stream());
      return rounded;
    }
    case Precision::bf16: {
      const Tensor rounded = rounded_to(DType::bf16);
      kernels::convert(x.size(), x.data<float>(), address<bfloat16>(rounded), current_stream());
      return rounded;
    }
    case Precision::fp16: {
      const Tensor rounded = rounded_to(DType::f16);
      kernels::convert(x.size(), x.data<float>(), address<half>(rounded), current_stream());
      return rounded;
    }
    default:
      return x;
  }
}

void reduced_gemm(const kernels::GemmShape& shape, const GemmOperand& a, const GemmOperand& b, const Tensor& c,
                  const kernels::GemmEpilogue& epilogue) {
  const Scratch scratch(kernels::gemm_tensor_core_workspace_floats(shape));
  with_operands(a.matrix, b.matrix, [&](auto* from_a, auto* from_b) {
    kernels::gemm_tensor_core(shape, a.transpose, b.transpose, from_a, from_b, address<float>(c), epilogue,
                              current_stream(), scratch.get());
  });
}

void reduced_conv2d_forward(const kernels::Conv2dShape& shape, const Tensor& x, const Tensor& weight, const float* bias,
                            const Tensor& y, kernels::Activation activation, float slope) {
  const Scratch scratch = conv2d_scratch(shape, Conv2dDirection::forward, x);
  with_operands(x, weight, [&](auto* from_x, auto* from_w) {
    kernels::conv2d_forward_tensor_core(shape, kLayout, from_x, from_w, bias, address<float>(y), activation,
                                        scratch.get(), current_stream(), kernels::TensorCoreMethod::fastest, slope);
  });
}

void reduced_conv2d_backward_input(const kernels::Conv2dShape& shape, const Tensor& dy, const Tensor& weight,
                                   const Tensor& dx) {
  const Scratch scratch = conv2d_scratch(shape, Conv2dDirection::backward_input, dy);
  with_operands(dy, weight, [&](auto* from_dy, auto* from_w) {
    kernels::conv2d_backward_input_tensor_core(shape, kLayout, from_dy, from_w, address<float>(dx), scratch.get(),
                                               current_stream());
  });
}

void reduced_conv2d_backward_weight(const kernels::Conv2dShape& shape, const Tensor& x, const Tensor& dy,
                                    const Tensor& dw, float* db) {
  const Scratch scratch = conv2d_scratch(shape, Conv2dDirection::backward_weight, x);
  with_operands(x, dy, [&](auto* from_x, auto* from_dy) {
    kernels::conv2d_backward_weight_tensor_core(shape, kLayout, from_x, from_dy, address<float>(dw), db, scratch.get(),
                                                current_stream());
  });
}

void reduced_conv2d_backward(const kernels::Conv2dShape& shape, const Tensor& x, const Tensor& dy, const Tensor& weight,
                             const Tensor& dx, const Tensor& dw, float* db) {
  const Scratch scratch = conv2d_scratch(shape, Conv2dDirection::backward, x);
  with_operands(x, dy, [&]<class T>(const T* from_x, const T* from_dy) {
    kernels::conv2d_backward_tensor_core(shape, kLayout, from_x, from_dy, address<const T>(weight), address<float>(dx),
                                         address<float>(dw), db, scratch.get(), current_stream());
  });
}

}  // namespace espalier
