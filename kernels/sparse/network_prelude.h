// The text around the layers of a compiled network: what its words mean for a CPU and for CUDA, and what calls them.
#pragma once
#include <string>

#include "kernels/sparse/network_layout.h"

namespace espalier::kernels {

std::string host_prelude(int lanes);
std::string host_function(const std::string& calls);

std::string cuda_prelude();
std::string cuda_kernel(const NetworkSource& source, const SourceMap& first, const SourceMap& last,
                        const std::string& calls);

std::string scalar_words();  // CUDA: a product added to a sum, the larger of two numbers, activations of one

std::string activation_name(Activation activation);  // as the preludes call it; empty: none

}  // namespace espalier::kernels
