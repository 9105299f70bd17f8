// Both gradients of a convolution: the parts of the weight gradient first, their sum in the launch of the input
// gradient (conv2d_weight_parts.h). The same bits as from the two launchers one after the other.
#include "kernels/conv2d_weight_parts.h"
#include "kernels/scratch.h"

namespace espalier::kernels {
namespace {

constexpr int kSumThreads = WeightParts::kChains * kWarp;

__global__ void __launch_bounds__(kSumThreads) sum_weight_parts_kernel(WeightParts parts) {
  parts.add_piece(blockIdx.x, simt::dynamic_shared<float>());
}

}  // namespace

void sum_weight_parts(const WeightParts& parts, cudaStream_t stream) {
  if (parts.pieces() == 0) return;
  const simt::Launch launch{dim3(unsigned(parts.pieces())), dim3(unsigned(parts.by_panels ? 1 : kSumThreads)),
                            parts.by_panels ? 0 : parts.kSharedBytes, stream};
  simt::launch(sum_weight_parts_kernel, launch, parts);
}

void conv2d_backward(const Conv2dShape& shape, const float* x, const float* dy, const float* w, float* dx, float* dw,
                     float* db, Workspace workspace, cudaStream_t stream, Conv2dMethod method) {
  require_valid(shape, "conv2d_backward");
  Scratch scratch(workspace);
  const index_t for_weight = std::min(workspace.floats, conv2d_backward_weight_workspace(shape, method));
  const Workspace of_weight{scratch.take<float>(for_weight), for_weight, workspace.arrivals};
  const WeightParts parts = conv2d_backward_weight_parts(shape, x, dy, dw, db, of_weight, stream, method);
  conv2d_backward_input_and_sum(shape, dy, w, dx, parts, scratch.rest(), stream, method);
}

index_t conv2d_backward_workspace(const Conv2dShape& shape, Conv2dMethod method) {
  Scratch scratch({});
  scratch.take<float>(conv2d_backward_weight_workspace(shape, method));
  scratch.take<float>(conv2d_backward_input_workspace(shape, method));
  return scratch.used();
}

void conv2d_pool_backward(const Conv2dShape& shape, const float* x, const float* y, const float* dy,
                          const std::uint8_t* route, const float* w, float* dx, float* dw, float* db,
                          Activation activation, float leaky_slope, Workspace workspace, cudaStream_t stream,
                          Conv2dMethod method) {
  require_valid_pool(shape, route, activation, leaky_slope, "conv2d_pool_backward");
  const PooledGradient gradient(shape, y, dy, route, activation, leaky_slope);
  const WeightParts parts = conv2d_pool_backward_weight_parts(shape, x, gradient, dw, db, workspace, stream, method);
  conv2d_pool_backward_input_and_sum(shape, gradient, w, dx, parts, stream, method);
}

}  // namespace espalier::kernels
