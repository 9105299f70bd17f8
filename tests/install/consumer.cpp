// Uses the installed headers and libraries: memory, a kernel, the tape.
#include <cstdio>

#include "core/autograd/variable.h"
#include "core/tensor/tensor.h"

int main() {
  using namespace espalier;
  const Tensor x = Tensor::full({5, 3}, 2.0f);
  std::printf("%g\n", x.to_host()[14]);
  return x.to_host()[14] == 2.0f ? 0 : 1;
}
