// The way of the cpu build: operands are widened (and turned into nchw) in the workspace, then conv2d.h's panels do the
// rest; widening costs 0.05 ns an element beside the patch's multiply-adds.
#include "kernels/conv2d_tensor_core.h"

#include <algorithm>

#include "kernels/layout.h"
#include "kernels/require.h"

namespace espalier::kernels {
namespace {

// Pieces of a workspace, each on its own cache lines. Without memory it only counts.
class Scratch {
 public:
  explicit Scratch(Workspace workspace) : workspace_(workspace) {}

  float* take(index_t floats) {
    float* piece = workspace_.data == nullptr ? nullptr : workspace_.data + used_;
    used_ += (floats + 31) / 32 * 32;
    return piece;
  }
  Workspace rest() const {
    const index_t left = workspace_.data == nullptr ? 0 : workspace_.floats - used_;
    return left > 0 ? Workspace{workspace_.data + used_, left} : Workspace{};
  }
  index_t used() const { return used_; }

 private:
  Workspace workspace_;
  index_t used_ = 0;
};

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
  float* y = scratch.take(planes.size());
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
        made(layout == Conv2dLayout::nchw ? y : scratch.take(planes.size())) {}
  void finish(cudaStream_t stream) const {
    if (layout == Conv2dLayout::nhwc) nchw_to_nhwc(planes, planes.channels, made, wanted, stream);
  }
};

void require_workspace(const Conv2dShape& shape, Conv2dLayout layout, Conv2dDirection direction, Precision precision,
                       TensorCoreMethod method, Workspace workspace, const char* caller) {
  require_valid(shape, caller);
  const index_t needed = conv2d_tensor_core_workspace(shape, layout, direction, precision, method);
  const index_t given = workspace.data == nullptr ? 0 : workspace.floats;
  require(given >= needed, caller, ": a workspace of ", given, " floats, needs ", needed,
          "; ask conv2d_tensor_core_workspace()");
}

}  // namespace

index_t conv2d_tensor_core_workspace(const Conv2dShape& shape, Conv2dLayout layout, Conv2dDirection direction,
                                     Precision precision, TensorCoreMethod) {
  require_valid(shape, "conv2d_tensor_core_workspace");
  Scratch scratch({});
  const bool turned = layout == Conv2dLayout::nhwc, copied = turned || precision != Precision::tf32;
  const auto take_if = [&](bool condition, index_t floats) { return condition ? scratch.take(floats) : nullptr; };
  switch (direction) {
    case Conv2dDirection::forward:
      take_if(copied, shape.input_size()), take_if(copied, shape.weight_size());
      take_if(turned, shape.output_size());
      return scratch.used();
    case Conv2dDirection::backward_input:
      take_if(copied, shape.output_size()), take_if(copied, shape.weight_size());
      take_if(turned, shape.input_size());
      return scratch.used();
    case Conv2dDirection::backward_weight:
      take_if(copied, shape.input_size()), take_if(copied, shape.output_size());
      take_if(turned, shape.weight_size());
      return scratch.used() + conv2d_backward_weight_workspace(shape);
  }
  return 0;
}

template <class T>
void conv2d_forward_tensor_core(const Conv2dShape& shape, Conv2dLayout layout, const T* x, const T* w,
                                const float* bias, float* y, Activation activation, Workspace workspace,
                                cudaStream_t stream, TensorCoreMethod method, float leaky_slope) {
  require_workspace(shape, layout, Conv2dDirection::forward, kPrecisionOf<T>, method, workspace,
                    "conv2d_forward_tensor_core");
  Scratch scratch(workspace);
  const float* from_x = nchw_floats(scratch, input_planes(shape), layout, x, stream);
  const float* from_w = nchw_floats(scratch, weight_planes(shape), layout, w, stream);
  const Result result(scratch, output_planes(shape), layout, y);
  conv2d_forward(shape, from_x, from_w, bias, result.made, activation, stream, Conv2dMethod::fastest, leaky_slope);
  result.finish(stream);
}

template <class T>
void conv2d_backward_input_tensor_core(const Conv2dShape& shape, Conv2dLayout layout, const T* dy, const T* w,
                                       float* dx, Workspace workspace, cudaStream_t stream, TensorCoreMethod method) {
  require_workspace(shape, layout, Conv2dDirection::backward_input, kPrecisionOf<T>, method, workspace,
                    "conv2d_backward_input_tensor_core");
  Scratch scratch(workspace);
  const float* from_dy = nchw_floats(scratch, output_planes(shape), layout, dy, stream);
  const float* from_w = nchw_floats(scratch, weight_planes(shape), layout, w, stream);
  const Result result(scratch, input_planes(shape), layout, dx);
  conv2d_backward_input(shape, from_dy, from_w, result.made, stream);
  result.finish(stream);
}

template <class T>
void conv2d_backward_weight_tensor_core(const Conv2dShape& shape, Conv2dLayout layout, const T* x, const T* dy,
                                        float* dw, float* db, Workspace workspace, cudaStream_t stream,
                                        TensorCoreMethod method) {
  require_workspace(shape, layout, Conv2dDirection::backward_weight, kPrecisionOf<T>, method, workspace,
                    "conv2d_backward_weight_tensor_core");
  Scratch scratch(workspace);
  const float* from_x = nchw_floats(scratch, input_planes(shape), layout, x, stream);
  const float* from_dy = nchw_floats(scratch, output_planes(shape), layout, dy, stream);
  const Result result(scratch, weight_planes(shape), layout, dw);
  conv2d_backward_weight(shape, from_x, from_dy, result.made, db, scratch.rest(), stream);
  result.finish(stream);
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

}  // namespace espalier::kernels
