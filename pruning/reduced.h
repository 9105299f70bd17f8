// One number of all elements of a tensor, for whoever decides on the host.
#pragma once
#include "core/tensor/tensor.h"
#include "kernels/reduce.h"

namespace espalier::pruning {

float reduced(const Tensor& x, kernels::Reduction reduction);  // f32 of any shape; waits for the device

}  // namespace espalier::pruning
