// Networks as code against the dense network with zeros in double. Their code is part of this program.
#include "kernels/vendor/compiled_network.h"

#include <doctest/doctest.h>

#include "tests/support/guarded_buffer.h"
#include "tests/written/networks.h"

// Whatever they take: only their addresses are asked for.
extern "C" void espalier_network_small();
extern "C" void espalier_network_wide();

namespace espalier::test {
namespace {

using kernels::vendor::CompiledNetwork;

CompiledNetwork compiled(std::string_view name) {
  const SparseNetwork network = written_network(name, 1);
  const auto code = name == "small" ? espalier_network_small : espalier_network_wide;
  return {network_source(network.products, CompiledNetwork::target()), reinterpret_cast<const void*>(code)};
}

TEST_CASE("compiled network: equals the dense network with zeros at batches around a vector and a block") {
  for (const std::string_view name : kWrittenNetworks) {
    CAPTURE(name);
    const CompiledNetwork network = compiled(name);
    for (const std::int64_t batch : {1, 3, 31, 32, 33, 65}) {
      if (name == "wide" && batch > 33) continue;
      CAPTURE(batch);
      const SparseNetwork problem = written_network(name, batch);
      const GuardedBuffer<float> x(problem.x);
      GuardedBuffer<float> y(problem.y.size()), memory(std::size_t(network.memory_floats(batch)));
      network(batch, x.data(), y.data(), memory.data(), nullptr);
      CHECK(difference(y.download(), problem.y, 1e-5, 2e-5) == "");
      CHECK(y.guards_intact());
      CHECK(memory.guards_intact());
    }
  }
}

TEST_CASE("compiled network: one has all its maps in shared memory, the other has some in scratch") {
  const auto source_of = [](std::string_view name) {
    return network_source(written_network(name, 1).products, kernels::SourceTarget::cuda);
  };
  CHECK(source_of("small").memory == 0);
  CHECK(source_of("wide").memory > 0);
}

TEST_CASE("compiled network: a batch of nothing is no launch") {
  compiled("small")(0, nullptr, nullptr, nullptr, nullptr);
  CHECK(cudaGetLastError() == cudaSuccess);
}

}  // namespace
}  // namespace espalier::test
