// What conv2d_tensor_core_launch.h does, checked; its kernels are those of conv2d_forward_tensor_core().
#include "kernels/conv2d_arranged.h"

#include "kernels/conv2d_tensor_core_products.h"
#include "kernels/require.h"

namespace espalier::kernels {

template <class T>
bool takes_arranged(const Conv2dShape& shape) {
  return detail::tensor_cores_number<T>(shape);
}

index_t conv2d_arranged_size(const Conv2dShape& shape) { return shape.filters * detail::arranged_filter(shape); }

template <class T>
void conv2d_arrange(const Conv2dShape& shape, const T* w, T* arranged, cudaStream_t stream) {
  require_valid(shape, "conv2d_arrange");
  detail::arrange_filters(shape, Conv2dLayout::nchw, w, arranged, stream);
}

template <class T>
index_t conv2d_arranged_workspace(const Conv2dShape& shape) {
  Scratch scratch({});
  const T* none = nullptr;
  detail::forward_arranged<T>(shape, {}, none, nullptr, 1.0f, ConvPool::none, scratch, nullptr);
  return scratch.used();
}

template <class T>
void require_operands(const Conv2dShape& shape, const ConvImages<T>& images, Activation activation,
                      const char* caller) {
  require(images.x_operand == nullptr || channels_are_eights(shape), caller, ": groups of ", shape.channels_per_group(),
          " channels as an operand; it takes multiples of 8, others as x");
  require(images.y_operand == nullptr || (shape.filters % 8 == 0 && is_straight(activation)), caller, ": ",
          shape.filters, " filters as an operand; it takes multiples of 8, behind none, relu and leaky_relu");
}

template <class T>
void conv2d_forward_arranged(const Conv2dShape& shape, const ConvImages<T>& images, const T* arranged,
                             const float* bias, Activation activation, float leaky_slope, ConvPool pool,
                             Workspace workspace, cudaStream_t stream) {
  require_valid(shape, "conv2d_forward_arranged");
  require(takes_arranged<T>(shape), "conv2d_forward_arranged: ", shape.batch, " images of ", shape.channels, " x ",
          shape.height, " x ", shape.width, " and kernels of ", shape.kernel_height, " x ", shape.kernel_width,
          " are more than 32 bits number, or than 16 taps; take conv2d_forward_tensor_core");
  require(has_tensor_cores_for(kPrecisionOf<T>),
          "conv2d_forward_arranged: tensor cores of compute capability 7.5 know fp16 only; take fp16 or fp32");
  require_operands(shape, images, activation, "conv2d_forward_arranged");
  const index_t needed = images.x_operand == nullptr ? conv2d_arranged_workspace<T>(shape) : 0;
  const index_t given = workspace.data == nullptr ? 0 : workspace.floats;
  require(given >= needed, "conv2d_forward_arranged: a workspace of ", given, " floats, needs ", needed,
          "; ask conv2d_arranged_workspace()");
  const bool straight = is_straight(activation);
  require(pool == ConvPool::none || (straight && shape.out_height() >= 2 && shape.out_width() >= 2),
          "conv2d_forward_arranged: pools outputs of 2 x 2 and more, behind none, relu and leaky_relu; these are ",
          shape.out_height(), " x ", shape.out_width());
  const float slope = activation == Activation::relu ? 0.0f : activation == Activation::leaky_relu ? leaky_slope : 1.0f;
  Scratch scratch(workspace);
  detail::forward_arranged(shape, images, arranged, bias, slope, pool, scratch, stream);
  if (!straight) activation_forward(shape.output_size(), activation, leaky_slope, images.y, images.y, stream);
}

template bool takes_arranged<float>(const Conv2dShape&);
template bool takes_arranged<half>(const Conv2dShape&);
template bool takes_arranged<bfloat16>(const Conv2dShape&);
template void conv2d_arrange(const Conv2dShape&, const float*, float*, cudaStream_t);
template void conv2d_arrange(const Conv2dShape&, const half*, half*, cudaStream_t);
template void conv2d_arrange(const Conv2dShape&, const bfloat16*, bfloat16*, cudaStream_t);
template index_t conv2d_arranged_workspace<float>(const Conv2dShape&);
template index_t conv2d_arranged_workspace<half>(const Conv2dShape&);
template index_t conv2d_arranged_workspace<bfloat16>(const Conv2dShape&);
template void require_operands(const Conv2dShape&, const ConvImages<float>&, Activation, const char*);
template void require_operands(const Conv2dShape&, const ConvImages<half>&, Activation, const char*);
template void require_operands(const Conv2dShape&, const ConvImages<bfloat16>&, Activation, const char*);
template void conv2d_forward_arranged(const Conv2dShape&, const ConvImages<float>&, const float*, const float*,
                                      Activation, float, ConvPool, Workspace, cudaStream_t);
template void conv2d_forward_arranged(const Conv2dShape&, const ConvImages<half>&, const half*, const float*,
                                      Activation, float, ConvPool, Workspace, cudaStream_t);
template void conv2d_forward_arranged(const Conv2dShape&, const ConvImages<bfloat16>&, const bfloat16*, const float*,
                                      Activation, float, ConvPool, Workspace, cudaStream_t);

}  // namespace espalier::kernels
