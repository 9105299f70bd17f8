// Training on kept weights alone beside training with zeros in the place of the others: what tests of both dense layers
// and convolutions need.
#pragma once
#include <doctest/doctest.h>

#include <bit>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/train/adam.h"
#include "core/train/sgd.h"
#include "layers/layers.h"
#include "tests/support/close.h"
#include "tests/support/sparse_problems.h"

namespace espalier::test {

enum class Train { all, kept, kept_by_vendor };

inline Tensor random_tensor(const Shape& shape, unsigned seed) {
  return Tensor::from(shape, random_floats(std::size_t(shape.size()), seed));
}

inline Mask uneven_mask(const Shape& shape, double sparsity, unsigned seed) {
  std::vector<std::uint8_t> keep;
  for (const float value : uneven_weight(shape[0], shape.size() / shape[0], sparsity, seed)) keep.push_back(value != 0);
  return {Tensor::from_bytes(shape, DType::u8, std::as_bytes(std::span(keep)))};
}

inline std::vector<std::uint32_t> bits_of(const Tensor& tensor) {
  std::vector<std::uint32_t> bits;
  for (const float value : tensor.to_host()) bits.push_back(std::bit_cast<std::uint32_t>(value));
  return bits;
}

// The gradient of a weight, zero where it is pruned.
inline std::vector<float> dense_gradient(const Parameter& weight) {
  const std::vector<float> gradient = weight.trained().gradient().to_host();
  std::vector<float> dense(std::size_t(weight.size()), 0.0f);
  const auto keep = weight.mask()->keep.to_host_as<std::uint8_t>();
  for (std::size_t i = 0, next = 0; i < dense.size(); ++i) {
    if (keep[i]) dense[i] = weight.kept() ? gradient[next++] : gradient[i];
  }
  return dense;
}

using MakeOptimizer = std::function<std::unique_ptr<Optimizer>(std::vector<Parameter*>)>;

// Some steps, with new masks of the first two layers before each third: weights and moments afterwards.
inline std::vector<Tensor> trained(Sequential model, const Shape& input, Train how, const MakeOptimizer& make) {
  const std::unique_ptr<Optimizer> optimizer = make(model.parameters());
  const Tensor x = random_tensor(input, 3);
  std::vector<std::int32_t> labels;
  for (int i = 0; i < input[0]; ++i) labels.push_back(i % 7);
  const std::vector<Parameter*> weights{model.parameters()[0], model.parameters()[2]};
  for (int step = 0; step < 9; ++step) {
    for (Parameter* weight : weights) {
      if (step % 3 == 0) weight->set_mask(uneven_mask(weight->value.shape(), 0.7, unsigned(step)));
      if (how == Train::all || step % 3 == 2) weight->train_all();  // dense, as before a regrowth by gradient
      if (how == Train::kept && step % 3 == 0) weight->train_kept();
    }
    optimizer->zero_gradients();
    softmax_cross_entropy(model(x), Tensor::from({input[0]}, labels)).backward();
    optimizer->step();
    for (const Parameter* weight : weights) {
      const auto keep = weight->mask()->keep.to_host_as<std::uint8_t>();
      const auto value = bits_of(weight->value.value());
      for (std::size_t i = 0; i < keep.size(); ++i) REQUIRE((keep[i] || value[i] == 0));
    }
  }
  std::vector<Tensor> result{weights[0]->value.value(), weights[1]->value.value()};
  for (Buffer* buffer : optimizer->state()) result.push_back(buffer->value);
  return result;
}

// Every optimizer trains as on all weights; pruned weights and their moments stay zero bits. The model is made of seven
// classes, in layers of which the second and fourth parameters are biases.
inline void check_kept_training(const std::function<Sequential()>& model, const Shape& input) {
  const std::vector<std::pair<std::string, MakeOptimizer>> optimizers{
      {"sgd", [](auto parameters) { return std::make_unique<Sgd>(parameters, SgdOptions{.learning_rate = 0.1f}); }},
      {"nesterov",
       [](auto parameters) {
         return std::make_unique<Sgd>(
             parameters, SgdOptions{.learning_rate = 0.1f, .momentum = 0.9f, .weight_decay = 0.01f, .nesterov = true});
       }},
      {"adam", [](auto parameters) { return std::make_unique<Adam>(parameters, AdamOptions{.weight_decay = 0.01f}); }},
      {"adamw",
       [](auto parameters) { return std::make_unique<AdamW>(parameters, AdamOptions{.weight_decay = 0.01f}); }}};
  for (const auto& [name, make] : optimizers) {
    CAPTURE(name);
    const std::vector<Tensor> kept = trained(model(), input, Train::kept, make);
    const std::vector<Tensor> all = trained(model(), input, Train::all, make);
    REQUIRE(kept.size() == all.size());
    for (std::size_t i = 0; i < kept.size(); ++i) {
      CAPTURE(i);
      CHECK(difference(kept[i].to_host(), all[i].to_host(), 1e-3, 2e-5) == "");
      const auto mine = bits_of(kept[i]), theirs = bits_of(all[i]);
      for (std::size_t j = 0; j < mine.size(); ++j) CHECK((theirs[j] != 0 || mine[j] == 0));
    }
  }
}

}  // namespace espalier::test
