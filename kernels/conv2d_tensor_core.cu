// Chooses between the tensor cores (conv2d_tensor_core_launch.h) and conv2d.h on widened operands. The latter is the
// way of the cpu build, where widening costs 0.05 ns an element beside the patch's multiply-adds, and of kernels with
// more than 16 taps along an axis, or of more images than 32 bits can number.
// Main loops on sm_80 and sm_86, static mix of forward and input gradient, fp16, bf16 and tf32 alike: 46.4 % HMMA, for
// up to 64 filters 42.7 %, whose tile copies half as much again for each product; weight gradient: 49.6 % (43.5 %) of
// 16 bits, 39.3 % (35.4 %) of tf32, which takes 48 loads of shared memory a step where ldmatrix takes 16. All others
// have 4 HMMA to an ldmatrix. One barrier a step, no spills; emulated, the wavefronts of shared and the sectors of
// global memory are the ideal ones, save where a small weight gradient that is not split over blocks, in nchw or of
// padded channels, stores dw element by element (WeightStore): up to eight times the sectors, which meet in the L2.
#include "kernels/conv2d_tensor_core.h"

#include <algorithm>

#include "kernels/conv2d_tensor_core_products.h"
#include "kernels/layout.h"
#include "kernels/require.h"

namespace espalier::kernels {
namespace {

PlanesShape input_planes(const Conv2dShape& s) { return {s.batch, s.channels, s.height * s.width}; }
PlanesShape output_planes(const Conv2dShape& s) { return {s.batch, s.filters, s.out_height() * s.out_width()}; }
PlanesShape weight_planes(const Conv2dShape& s) {
  return {s.filters, s.channels_per_group(), s.kernel_height * s.kernel_width};
}

template <class T>
const float* nchw_floats(Scratch& scratch, const PlanesShape& planes, Conv2dLayout layout, const T* x,
                         cudaStream_t stream) {
  if constexpr (sizeof(T) == sizeof(float)) {
    if (layout == Conv2dLayout::nchw) return x;
  }
  float* y = scratch.take<float>(planes.size());
  if (scratch.counts_only()) return y;
  if (layout == Conv2dLayout::nhwc) {
    nhwc_to_nchw(planes, planes.channels, x, y, stream);
  } else if constexpr (sizeof(T) != sizeof(float)) {
    convert(planes.size(), x, y, stream);
  }
  return y;
}

// Where a result is made, and how it gets where it belongs.
struct Result {
  PlanesShape planes;
  Conv2dLayout layout;
  float *wanted, *made;

  Result(Scratch& scratch, const PlanesShape& planes, Conv2dLayout layout, float* y)
      : planes(planes),
        layout(layout),
        wanted(y),
        made(layout == Conv2dLayout::nchw ? y : scratch.take<float>(planes.size())) {}
  void finish(cudaStream_t stream) const {
    if (layout == Conv2dLayout::nhwc) nchw_to_nhwc(planes, planes.channels, made, wanted, stream);
  }
};

template <class T>
bool on_tensor_cores(const Conv2dShape& s, TensorCoreMethod method) {
  return (!simt::kEmulated || method != TensorCoreMethod::fastest) && detail::tensor_cores_number<T>(s);
}

template <class T>
void forward_widened(const Conv2dShape& shape, Conv2dLayout layout, const T* x, const T* w, const float* bias, float* y,
                     Activation activation, float leaky_slope, Scratch& scratch, cudaStream_t stream) {
  const float* from_x = nchw_floats(scratch, input_planes(shape), layout, x, stream);
  const float* from_w = nchw_floats(scratch, weight_planes(shape), layout, w, stream);
  const Result result(scratch, output_planes(shape), layout, y);
  if (scratch.counts_only() && y == nullptr) return;
  conv2d_forward(shape, from_x, from_w, bias, result.made, activation, stream, Conv2dMethod::fastest, leaky_slope);
  result.finish(stream);
}

template <class T>
void backward_input_widened(const Conv2dShape& shape, Conv2dLayout layout, const T* dy, const T* w, float* dx,
                            Scratch& scratch, cudaStream_t stream) {
  const float* from_dy = nchw_floats(scratch, output_planes(shape), layout, dy, stream);
  const float* from_w = nchw_floats(scratch, weight_planes(shape), layout, w, stream);
  const Result result(scratch, input_planes(shape), layout, dx);
  if (scratch.counts_only() && dx == nullptr) return;
  conv2d_backward_input(shape, from_dy, from_w, result.made, stream);
  result.finish(stream);
}

template <class T>
void backward_weight_widened(const Conv2dShape& shape, Conv2dLayout layout, const T* x, const T* dy, float* dw,
                             float* db, Scratch& scratch, cudaStream_t stream) {
  const float* from_x = nchw_floats(scratch, input_planes(shape), layout, x, stream);
  const float* from_dy = nchw_floats(scratch, output_planes(shape), layout, dy, stream);
  const Result result(scratch, weight_planes(shape), layout, dw);
  if (scratch.counts_only() && dw == nullptr) {
    scratch.take<float>(conv2d_backward_weight_workspace(shape));
    return;
  }
  conv2d_backward_weight(shape, from_x, from_dy, result.made, db, scratch.rest(), stream);
  result.finish(stream);
}

template <class T>
void backward_widened(const Conv2dShape& shape, Conv2dLayout layout, const T* x, const T* dy, const T* w, float* dx,
                      float* dw, float* db, Scratch& scratch, cudaStream_t stream) {
  backward_input_widened(shape, layout, dy, w, dx, scratch, stream);
  backward_weight_widened(shape, layout, x, dy, dw, db, scratch, stream);
}

// Walks through a direction without operands, which only counts.
template <class T>
index_t count_workspace(const Conv2dShape& shape, Conv2dLayout layout, Conv2dDirection direction,
                        TensorCoreMethod method) {
  Scratch scratch({});
  const T* none = nullptr;
  float* nowhere = nullptr;
  const bool tensor = on_tensor_cores<T>(shape, method);
  if (direction == Conv2dDirection::forward) {
    tensor ? detail::forward_on_tensor_cores<T>(shape, layout, none, none, nullptr, nowhere, 1.0f, scratch, nullptr)
           : forward_widened(shape, layout, none, none, nullptr, nowhere, Activation::none, 0.0f, scratch, nullptr);
  } else if (direction == Conv2dDirection::backward_input) {
    tensor ? detail::backward_input_on_tensor_cores<T>(shape, layout, none, none, nowhere, scratch, nullptr)
           : backward_input_widened(shape, layout, none, none, nowhere, scratch, nullptr);
  } else if (direction == Conv2dDirection::backward) {
    const auto count = tensor ? detail::backward_on_tensor_cores<T> : backward_widened<T>;
    count(shape, layout, none, none, none, nowhere, nowhere, nowhere, scratch, nullptr);
  } else {
    tensor ? detail::backward_weight_on_tensor_cores<T>(shape, layout, none, none, nowhere, nowhere, scratch, nullptr)
           : backward_weight_widened(shape, layout, none, none, nowhere, nowhere, scratch, nullptr);
  }
  return scratch.used();
}

template <class T>
Scratch checked_scratch(const Conv2dShape& shape, Conv2dLayout layout, Conv2dDirection direction,
                        TensorCoreMethod method, Workspace workspace, const char* caller) {
  require_valid(shape, caller);
  const index_t needed = count_workspace<T>(shape, layout, direction, method);
  const index_t given = workspace.data == nullptr ? 0 : workspace.floats;
  require(given >= needed, caller, ": a workspace of ", given, " floats, needs ", needed,
          "; ask conv2d_tensor_core_workspace()");
  require(!on_tensor_cores<T>(shape, method) || has_tensor_cores_for(kPrecisionOf<T>), caller,
          ": this GPU's tensor cores (compute capability 7.5) know fp16 only; take fp16 or fp32");
  return Scratch(workspace);
}

}  // namespace

index_t conv2d_tensor_core_workspace(const Conv2dShape& shape, Conv2dLayout layout, Conv2dDirection direction,
                                     Precision precision, TensorCoreMethod method) {
  require_valid(shape, "conv2d_tensor_core_workspace");
  if (precision == Precision::fp16) return count_workspace<half>(shape, layout, direction, method);
  if (precision == Precision::bf16) return count_workspace<bfloat16>(shape, layout, direction, method);
  return count_workspace<float>(shape, layout, direction, method);
}

template <class T>
void conv2d_forward_tensor_core(const Conv2dShape& shape, Conv2dLayout layout, const T* x, const T* w,
                                const float* bias, float* y, Activation activation, Workspace workspace,
                                cudaStream_t stream, TensorCoreMethod method, float leaky_slope) {
  Scratch scratch =
      checked_scratch<T>(shape, layout, Conv2dDirection::forward, method, workspace, "conv2d_forward_tensor_core");
  if (!on_tensor_cores<T>(shape, method)) {
    return forward_widened(shape, layout, x, w, bias, y, activation, leaky_slope, scratch, stream);
  }
  const bool bent = activation == Activation::relu || activation == Activation::leaky_relu;
  const float slope = activation == Activation::relu ? 0.0f : bent ? leaky_slope : 1.0f;
  detail::forward_on_tensor_cores<T>(shape, layout, x, w, bias, y, slope, scratch, stream);
  if (!bent && activation != Activation::none) {
    activation_forward(shape.output_size(), activation, leaky_slope, y, y, stream);
  }
}

template <class T>
void conv2d_backward_input_tensor_core(const Conv2dShape& shape, Conv2dLayout layout, const T* dy, const T* w,
                                       float* dx, Workspace workspace, cudaStream_t stream, TensorCoreMethod method) {
  Scratch scratch = checked_scratch<T>(shape, layout, Conv2dDirection::backward_input, method, workspace,
                                       "conv2d_backward_input_tensor_core");
  on_tensor_cores<T>(shape, method)
      ? detail::backward_input_on_tensor_cores<T>(shape, layout, dy, w, dx, scratch, stream)
      : backward_input_widened(shape, layout, dy, w, dx, scratch, stream);
}

template <class T>
void conv2d_backward_weight_tensor_core(const Conv2dShape& shape, Conv2dLayout layout, const T* x, const T* dy,
                                        float* dw, float* db, Workspace workspace, cudaStream_t stream,
                                        TensorCoreMethod method) {
  Scratch scratch = checked_scratch<T>(shape, layout, Conv2dDirection::backward_weight, method, workspace,
                                       "conv2d_backward_weight_tensor_core");
  on_tensor_cores<T>(shape, method)
      ? detail::backward_weight_on_tensor_cores<T>(shape, layout, x, dy, dw, db, scratch, stream)
      : backward_weight_widened(shape, layout, x, dy, dw, db, scratch, stream);
}

template <class T>
void conv2d_backward_tensor_core(const Conv2dShape& shape, Conv2dLayout layout, const T* x, const T* dy, const T* w,
                                 float* dx, float* dw, float* db, Workspace workspace, cudaStream_t stream,
                                 TensorCoreMethod method) {
  Scratch scratch =
      checked_scratch<T>(shape, layout, Conv2dDirection::backward, method, workspace, "conv2d_backward_tensor_core");
  const auto backward = on_tensor_cores<T>(shape, method) ? detail::backward_on_tensor_cores<T> : backward_widened<T>;
  backward(shape, layout, x, dy, w, dx, dw, db, scratch, stream);
}

template void conv2d_forward_tensor_core(const Conv2dShape&, Conv2dLayout, const float*, const float*, const float*,
                                         float*, Activation, Workspace, cudaStream_t, TensorCoreMethod, float);
template void conv2d_forward_tensor_core(const Conv2dShape&, Conv2dLayout, const half*, const half*, const float*,
                                         float*, Activation, Workspace, cudaStream_t, TensorCoreMethod, float);
template void conv2d_forward_tensor_core(const Conv2dShape&, Conv2dLayout, const bfloat16*, const bfloat16*,
                                         const float*, float*, Activation, Workspace, cudaStream_t, TensorCoreMethod,
                                         float);
template void conv2d_backward_input_tensor_core(const Conv2dShape&, Conv2dLayout, const float*, const float*, float*,
                                                Workspace, cudaStream_t, TensorCoreMethod);
template void conv2d_backward_input_tensor_core(const Conv2dShape&, Conv2dLayout, const half*, const half*, float*,
                                                Workspace, cudaStream_t, TensorCoreMethod);
template void conv2d_backward_input_tensor_core(const Conv2dShape&, Conv2dLayout, const bfloat16*, const bfloat16*,
                                                float*, Workspace, cudaStream_t, TensorCoreMethod);
template void conv2d_backward_weight_tensor_core(const Conv2dShape&, Conv2dLayout, const float*, const float*, float*,
                                                 float*, Workspace, cudaStream_t, TensorCoreMethod);
template void conv2d_backward_weight_tensor_core(const Conv2dShape&, Conv2dLayout, const half*, const half*, float*,
                                                 float*, Workspace, cudaStream_t, TensorCoreMethod);
template void conv2d_backward_weight_tensor_core(const Conv2dShape&, Conv2dLayout, const bfloat16*, const bfloat16*,
                                                 float*, float*, Workspace, cudaStream_t, TensorCoreMethod);
template void conv2d_backward_tensor_core(const Conv2dShape&, Conv2dLayout, const float*, const float*, const float*,
                                          float*, float*, float*, Workspace, cudaStream_t, TensorCoreMethod);
template void conv2d_backward_tensor_core(const Conv2dShape&, Conv2dLayout, const half*, const half*, const half*,
                                          float*, float*, float*, Workspace, cudaStream_t, TensorCoreMethod);
template void conv2d_backward_tensor_core(const Conv2dShape&, Conv2dLayout, const bfloat16*, const bfloat16*,
                                          const bfloat16*, float*, float*, float*, Workspace, cudaStream_t,
                                          TensorCoreMethod);

}  // namespace espalier::kernels
