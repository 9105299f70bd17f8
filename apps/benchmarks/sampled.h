// The gradient of a pruned dense layer's weight by each product that makes it: the dense ones, all of it, and the
// sampled ones, on the mask alone. Measured on this device, x and dy as each wants them: training has the panels of
// ours (csr_sddmm.h) from the other products of the layer.
#pragma once
#include <vector>

#include "core/tensor/tensor.h"
#include "pruning/selection.h"

namespace espalier::benchmarks {

// Formats "dense, dw" and "csr, dw". weight [rows, columns], of which at least one must not be zero.
std::vector<pruning::MeasuredImplementation> sampled_gradients(const Tensor& weight, std::int64_t batch);

}  // namespace espalier::benchmarks
