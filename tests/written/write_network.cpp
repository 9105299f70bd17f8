// write_network NAME FILE: the code of a network of networks.h for this build's compiler.
#include <cstdio>
#include <exception>
#include <fstream>

#include "kernels/vendor/compiled_network.h"
#include "tests/written/networks.h"

int main(int count, char** arguments) try {
  if (count != 3) return 2;
  const auto network = espalier::test::written_network(arguments[1], 1);
  std::ofstream file(arguments[2]);
  file << network_source(network.products, espalier::kernels::vendor::CompiledNetwork::target()).text;
  return file.flush() ? 0 : 1;
} catch (const std::exception& error) {
  std::fprintf(stderr, "write_network: %s\n", error.what());
  return 1;
}
