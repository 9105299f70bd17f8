// Batch normalisation of x [batch, channels, area] over batch and area, forward and backward.
// Training forward: y = gamma * (x - mean) / sqrt(variance + epsilon) + beta with the statistics of the batch. A team
// takes mean and squared deviations of one slice in two looks, the second from the cache; slices are merged in double
// by Chan's formula: as accurate as two passes over memory at the price of one. Memory bound: forward reads x twice and
// writes y (12 bytes per element), backward reads x and dy twice and writes dx (20 bytes); [128, 32, 28x28] on two
// Zen 5 cores: 0.6 and 1.2 ms.
// Ioffe and Szegedy, arXiv:1502.03167; Chan, Golub and LeVeque, Updating Formulae for Sample Variances, 1979.
#pragma once
#include "kernels/row_team.h"
#include "kernels/shapes.h"
#include "kernels/simt/simt.h"

namespace espalier::kernels {

struct BatchStatistics {  // [channels] each; training forward writes them, backward reads them
  float* mean = nullptr;
  float* inverse_deviation = nullptr;  // 1 / sqrt(variance + epsilon), variance over the count
};

struct RunningStatistics {  // [channels] each; running += momentum * (batch - running), variance over the count - 1
  float* mean = nullptr;    // null: keep none
  float* variance = nullptr;
  float momentum = 0.1f;
};

struct Affine {  // [channels] each
  const float* gamma = nullptr;
  const float* beta = nullptr;
};

// Enough for forward and for backward.
std::size_t batch_norm_workspace_bytes(const PlanesShape& shape);

void batch_norm_forward_training(const PlanesShape& shape, float epsilon, const float* x, const Affine& affine,
                                 float* y, const BatchStatistics& statistics, const RunningStatistics& running,
                                 void* workspace, cudaStream_t stream, RowTeam team = RowTeam::automatic);

// mean and inverse_deviation from running statistics, for inference: y and the gradient treat them as constants.
void batch_norm_use_running(index_t channels, float epsilon, const RunningStatistics& running,
                            const BatchStatistics& statistics, cudaStream_t stream);
void batch_norm_forward_inference(const PlanesShape& shape, const float* x, const Affine& affine,
                                  const BatchStatistics& statistics, float* y, cudaStream_t stream);

// of_batch: the statistics depend on x, as after training forward. constant: they came from batch_norm_use_running().
enum class StatisticsKind { of_batch, constant };

struct NormGradients {
  float* dx = nullptr;
  float* dgamma = nullptr;  // [channels]
  float* dbeta = nullptr;   // [channels]
};

void batch_norm_backward(const PlanesShape& shape, StatisticsKind kind, const float* x, const float* gamma,
                         const BatchStatistics& statistics, const float* dy, const NormGradients& gradients,
                         void* workspace, cudaStream_t stream, RowTeam team = RowTeam::automatic);

}  // namespace espalier::kernels
