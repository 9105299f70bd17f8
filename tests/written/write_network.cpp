// write_network NAME FILE: the code of a network of networks.h, or of a convolution of convolutions.h, for this build's
// compiler.
#include <algorithm>
#include <cstdio>
#include <exception>
#include <fstream>

#include "kernels/vendor/compiled_conv2d.h"
#include "kernels/vendor/compiled_network.h"
#include "tests/written/convolutions.h"
#include "tests/written/networks.h"

namespace {

std::string code_of(std::string_view name) {
  using namespace espalier;
  if (std::ranges::find(test::kWrittenConvolutions, name) != std::end(test::kWrittenConvolutions)) {
    return test::written_source(name, kernels::vendor::CompiledConv2d::target()).text;
  }
  const auto network = test::written_network(name, 1);
  return network_source(network.products, kernels::vendor::CompiledNetwork::target()).text;
}

}  // namespace

int main(int count, char** arguments) try {
  if (count != 3) return 2;
  std::ofstream file(arguments[2]);
  file << code_of(arguments[1]);
  return file.flush() ? 0 : 1;
} catch (const std::exception& error) {
  std::fprintf(stderr, "write_network: %s\n", error.what());
  return 1;
}
