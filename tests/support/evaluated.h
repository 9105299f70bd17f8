// What a model answers in evaluation mode: what plans, copies and reordered models are held against.
#pragma once
#include <span>
#include <vector>

#include "layers/module.h"
#include "tests/support/close.h"

namespace espalier::test {

inline Tensor random_images(const Shape& shape, unsigned seed = 5) {  // in [-1, 1)
  return Tensor::from(shape, std::span<const float>(random_floats(std::size_t(shape.size()), seed)));
}

inline std::vector<float> evaluated(Module& model, const Tensor& images) {
  const NoGradient inference;
  model.set_training(false);
  return model(images).value().to_host();
}

}  // namespace espalier::test
