// A traced network as one chain of products, for what computes it as a whole (fused_plan.h, compiled_plan.h).
#pragma once
#include <string>
#include <vector>

#include "core/autograd/trace.h"
#include "kernels/sparse/fused_network.h"

namespace espalier::pruning {

// Why a network is not computed as a whole.
struct Refused {
  std::string why;
};

struct NetworkChain {
  std::vector<kernels::FusedProduct> products;
  std::vector<const Trace::Step*> steps;  // of the products; they point into the trace
  Shape input, output;
};

// Of one product in fp32, a convolution or a dense layer; weight and bias are left empty. Throws Refused.
kernels::FusedProduct product_of(const Function& function, const Shape& x, const Shape& weight);
// The weight as CSR, and the bias if there is one. Waits for the device.
void read_weights(kernels::FusedProduct& product, const Tensor& weight, const Tensor* bias);

// Shapes and attributes of a trace whose products have taken in what follows them. Throws Refused where a step is
// neither a product in fp32 nor a flatten, or where the layers are no chain.
NetworkChain chain_of(const Trace& traced);

// The products' weights as CSR, and their biases.
void read_weights(NetworkChain& chain, const Trace& traced);

}  // namespace espalier::pruning
