// A whole network as one Function and one launch (kernels/sparse/fused_network.h): the candidate of a plan as a whole,
// where compile() is asked for fused_network() and each layer's own fastest way is slower.
#pragma once
#include <span>

#include "core/autograd/trace.h"
#include "kernels/sparse/fused_network.h"
#include "pruning/whole_network.h"

namespace espalier::pruning {

struct FusedNetworkFunction final : WholeNetworkFunction {
  FusedNetworkFunction(std::span<const kernels::FusedProduct> products, int images, Shape x, Shape y);
  std::string_view name() const override { return "network, fused csr"; }
  Tensor forward(const Tensors& inputs, Context& context) const override;

  kernels::FusedNetwork network;
  Tensor rows, nonzeros;            // FusedRow and FusedNonzero as words
  std::int64_t scratch_floats = 0;  // of a call: where shared memory does not hold the maps
};

// Of a traced network whose products have taken in what follows them. Not eligible where a step is neither a product in
// fp32 nor a flatten, or where the activations of one image fill more than a block's shared memory.
Implementation fuse_network(const Trace& traced);

}  // namespace espalier::pruning
