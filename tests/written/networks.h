// Networks that are written out as code (kernels/sparse/network_source.h) when the tests are built and compiled into
// them: an emulator runs what is part of the program, but loads nothing that was compiled at run time.
#pragma once
#include <string_view>

#include "tests/support/sparse_network.h"

namespace espalier::test {

constexpr std::string_view kWrittenNetworks[] = {"small", "wide"};  // as CMakeLists.txt names them

// `small`: all its maps fit a GPU's shared memory. `wide`: the first two do not, and lie in scratch.
inline SparseNetwork written_network(std::string_view name, std::int64_t batch) {
  using kernels::Activation;
  SparseNetwork network{batch};
  if (name == "small") {
    network.add({1, 3, 9, 7, 5, 3, 3, 1, 1}, 0.7, Activation::relu, /*pool=*/true);
    network.add({1, 5, 4, 3, 6, 3, 3, 2, 1}, 0.6, Activation::leaky_relu);
    network.dense(24, 11, 0.7, Activation::gelu);
  } else {
    network.add({1, 1, 35, 33, 3, 5, 5, 1, 2}, 0.8, Activation::none, /*pool=*/true);
    network.add({1, 3, 17, 16, 7, 3, 3}, 0.8, Activation::sigmoid, /*pool=*/true);
    network.dense(343, 11, 0.95, Activation::tanh);
  }
  network.dense(11, 7, 0.4);
  return network;
}

}  // namespace espalier::test
