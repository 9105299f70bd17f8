// Layer normalisation of each row of x [rows, columns], forward and backward:
// y = gamma * (x - mean) / sqrt(variance + epsilon) + beta, mean and variance over the row.
// A team owns a row and looks at it three times (mean, squared deviations, output), from the cache after the first, so
// the variance of rows far from zero keeps its digits. Memory bound: forward 8 bytes per element, input gradient 12,
// gamma and beta gradients 8, summed over slices of rows in a fixed order. Ba, Kiros and Hinton, arXiv:1607.06450.
#pragma once
#include "kernels/batch_norm.h"

namespace espalier::kernels {

struct RowStatistics {  // [rows] each; forward writes them, backward reads them
  float* mean = nullptr;
  float* inverse_deviation = nullptr;  // 1 / sqrt(variance + epsilon)
};

void layer_norm_forward(const MatrixShape& shape, float epsilon, const float* x, const Affine& affine, float* y,
                        const RowStatistics& statistics, cudaStream_t stream, RowTeam team = RowTeam::automatic);

std::size_t layer_norm_workspace_bytes(const MatrixShape& shape);  // for backward
void layer_norm_backward(const MatrixShape& shape, const float* x, const float* gamma, const RowStatistics& statistics,
                         const float* dy, const NormGradients& gradients, void* workspace, cudaStream_t stream,
                         RowTeam team = RowTeam::automatic);

}  // namespace espalier::kernels
