// write_convolution WORD FILE: the code of one of the benchmarks' convolutions, for this build's compiler.
#include <cstdio>
#include <exception>
#include <fstream>

#include "apps/benchmarks/compiled_convolution.h"
#include "kernels/vendor/compiled_conv2d.h"

int main(int count, char** arguments) try {
  using namespace espalier;
  if (count != 3) return 2;
  for (const benchmarks::CompiledConvolution& one : benchmarks::kCompiledConvolutions) {
    if (one.word != arguments[1]) continue;
    std::ofstream file(arguments[2]);
    file << benchmarks::source_of(one.shape, kernels::vendor::CompiledConv2d::target()).text;
    return file.flush() ? 0 : 1;
  }
  return 2;
} catch (const std::exception& error) {
  std::fprintf(stderr, "write_convolution: %s\n", error.what());
  return 1;
}
