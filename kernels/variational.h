// Sparse variational dropout: each weight is a normal variable of mean w and learned variance, and a penalty prefers
// variances so large that the weight says nothing. A product of such weights is not drawn weight by weight: its sums
// are normal, too, with mean x W^T and variance x^2 (variance)^T, and one number is drawn for each of them (local
// reparametrisation), so that images of a batch meet different noise and gradients vary less. The two products are
// those of any layer; what is here goes between them. All are maps, memory bound, with the bytes they say.
// Molchanov, Ashukha and Vetrov 2017, arXiv 1701.05369: section 4.1 (log variance as the parameter), equation 14 (the
// penalty), 4.2 (local reparametrisation: Kingma, Salimans and Welling 2015, arXiv 1506.02557).
#pragma once
#include <cstdint>

#include "kernels/shapes.h"
#include "kernels/simt/simt.h"

namespace espalier::kernels {

struct VariationalWeight {
  index_t count = 0;
  const float *mean = nullptr, *log_variance = nullptr;
  const std::uint8_t* keep = nullptr;  // 0: the weight is pruned, it has no variance and no gradients; null: none is
};

// variance = exp(log_variance). Moves 8 bytes per weight, 9 with a mask.
void weight_variance(const VariationalWeight& weight, float* variance, cudaStream_t stream);

// What is to be added to the mean's gradient, and all of that of the log variance, for a loss with the penalty
// *strength
// * KL(log alpha), alpha = variance / mean^2, for each weight:
//   KL(a) = 0.63576 (1 - sigmoid(1.87320 + 1.48695 a)) + log(1 + exp(-a)) / 2
// Moves 20 bytes per weight. The strength is on the device: it may grow between steps.
void variational_gradients(const VariationalWeight& weight, const float* variance_gradient, const float* strength,
                           float* mean_gradient, float* log_variance_gradient, cudaStream_t stream);

// score = |mean| / deviation, of pruned weights 0: log alpha = -2 log(score). 12 bytes.
void signal_to_noise(const VariationalWeight& weight, float* score, cudaStream_t stream);

// y = mean + sqrt(variance + 1e-8) e with e standard normal, as fill_normal() draws it of {seed, *step}; slope = dy /
// d variance, for backward. 16 bytes. y may be mean, slope may be variance.
void add_gaussian_noise(index_t count, std::uint64_t seed, const std::int64_t* step, const float* mean,
                        const float* variance, float* y, float* slope, cudaStream_t stream);

// dx = 2 x dy, that of x^2. 12 bytes; dx may be dy.
void square_backward(index_t count, const float* x, const float* dy, float* dx, cudaStream_t stream);

}  // namespace espalier::kernels
