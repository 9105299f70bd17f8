// A whole network as code that is compiled for its weights alone (kernels/sparse/network_source.h), in one launch: the
// candidate compiled_network() of a plan as a whole.
#pragma once
#include "core/autograd/trace.h"
#include "kernels/vendor/compiled_network.h"
#include "pruning/network_chain.h"
#include "pruning/object_cache.h"
#include "pruning/whole_network.h"

namespace espalier::pruning {

struct CompiledNetworkFunction final : WholeNetworkFunction {
  CompiledNetworkFunction(kernels::vendor::CompiledNetwork network, Shape x, Shape y)
      : WholeNetworkFunction(std::move(x), std::move(y)), network(std::move(network)) {}
  std::string_view name() const override { return "network, compiled"; }
  Tensor forward(const Tensors& inputs, Context& context) const override;

  kernels::vendor::CompiledNetwork network;
};

// Of a traced network whose products have taken in what follows them. Not eligible where there are too many nonzeros,
// where a step is none that the generator knows, or where no compiler is found. What was compiled before comes from
// `objects`.
Implementation compile_network(const Trace& traced, const ObjectCache& objects);

}  // namespace espalier::pruning
