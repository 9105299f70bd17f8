#include "pruning/compiled_plan.h"

#include "core/device/stream.h"
#include "kernels/require.h"
#include "pruning/compiled_code.h"

namespace espalier::pruning {
namespace {

using kernels::NetworkSource;
using kernels::vendor::CompiledNetwork;
constexpr std::int64_t kInstructionBytes = 16;  // of a multiply-add with its weight, on a GPU

Implementation compiled(const Trace& traced, const ObjectCache& objects) {
  NetworkChain chain = chain_of(traced);
  read_weights(chain, traced);
  const NetworkSource source = network_source(chain.products, CompiledNetwork::target());
  const std::string compiler = kernels::vendor::compiler_identity();
  const auto load = [&](const std::string& object) { return CompiledNetwork(source, object); };
  const auto function = std::make_shared<CompiledNetworkFunction>(
      loaded_or_compiled(source.text, compiler, objects, load), chain.input, chain.output);
  function->made_with = compiler;
  return {.format = "compiled",
          .library = std::string(kernels::vendor::compiler_name()),
          .function = function,
          .weight_bytes = kInstructionBytes * source.nonzeros};
}

}  // namespace

Tensor CompiledNetworkFunction::forward(const Tensors& inputs, Context&) const {
  require_input(inputs);
  Tensor y = Tensor::empty(output);
  const Tensor memory = Tensor::empty({network.memory_floats(input[0])});
  network(input[0], inputs[0].data<float>(), y.data<float>(), memory.data<float>(), current_stream());
  return y;
}

Implementation compile_network(const Trace& traced, const ObjectCache& objects) {
  return or_refused("compiled", std::string(kernels::vendor::compiler_name()),
                    [&] { return compiled(traced, objects); });
}

}  // namespace espalier::pruning
