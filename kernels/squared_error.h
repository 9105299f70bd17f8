// Mean squared error fused with its gradient, and the last step of the backward of any such loss.
// One pass over prediction and target (8 bytes and 3 flops per element, 4 bytes more for the gradient), summed in
// slices and in a fixed order as in reduce.h; the loss stays on the device.
#pragma once
#include "kernels/row_team.h"
#include "kernels/shapes.h"
#include "kernels/simt/simt.h"

namespace espalier::kernels {

// loss [1] = mean (prediction - target)^2; dprediction [count] = 2 / count * (prediction - target), null: not wanted.
std::size_t mean_squared_error_workspace_bytes(index_t count);
void mean_squared_error(index_t count, const float* prediction, const float* target, float* loss, float* dprediction,
                        void* workspace, cudaStream_t stream, RowTeam team = RowTeam::automatic);

// gradient = dloss [1] * unit_gradient: the chain rule for a loss whose forward left its gradient for dloss = 1.
void scale_unit_gradient(index_t count, const float* unit_gradient, const float* dloss, float* gradient,
                         cudaStream_t stream);

}  // namespace espalier::kernels
