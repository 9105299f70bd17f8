// Uses the installed headers and libraries on every floor: a model, a training step, pruning, a compiled plan.
#include <cstdio>

#include "core/train/sgd.h"
#include "layers/layers.h"
#include "pruning/plan.h"
#include "pruning/pruner.h"

int main() {
  using namespace espalier;
  Sequential model(Dense(8, 16), Relu(), Dense(16, 2));
  const Tensor x = Tensor::full({5, 8}, 1.0f);  // [N, features]
  Sgd optimizer(model.parameters(), {.learning_rate = 0.1f, .momentum = 0.9f});
  softmax_cross_entropy(model(x), Tensor::zeros({5}, DType::i32)).backward();
  optimizer.step();
  pruning::Pruner(model, {}).prune_to(0.5);
  const pruning::Plan plan = pruning::compile(model, x.shape());
  std::printf("%lld logits\n", static_cast<long long>(plan(x).size()));
  return plan(x).shape() == Shape{5, 2} ? 0 : 1;
}
