#include "layers/sequential.h"

#include "core/autograd/place.h"
#include "layers/activation.h"
#include "layers/conv_pool.h"

namespace espalier {
namespace {

const ActivationLayer* activation_of(const Module* layer) { return dynamic_cast<const ActivationLayer*>(layer); }

// An activation whose gradient follows from its output needs no copy of the product it was applied to.
const ActivationLayer* fusible(const Module* layer) {
  const ActivationLayer* const activation = activation_of(layer);
  return activation && !kernels::gradient_needs_input(activation->activation()) ? activation : nullptr;
}

bool halves(const Module* layer) {
  const auto* const pool = dynamic_cast<const MaxPool2d*>(layer);
  return pool && ConvPool2dFunction::takes(pool->pool());
}

const ActivationLayer* straight(const Module* layer) {
  const ActivationLayer* const activation = activation_of(layer);
  return activation && ConvPool2dFunction::takes(activation->activation()) ? activation : nullptr;
}

// What a convolution takes in of the two layers behind it: a halving max pool, and an activation on either side.
struct Block {
  std::size_t layers = 0;  // taken in; 0: there is no pool to take
  const ActivationLayer* activation = nullptr;
};

Block block_behind(const Module* first, const Module* second) {
  if (straight(first) && halves(second)) return {2, straight(first)};
  if (halves(first) && straight(second)) return {2, straight(second)};
  return {halves(first) ? 1u : 0u};
}

}  // namespace

Sequential::Sequential(std::vector<std::unique_ptr<Module>> layers) : layers_(std::move(layers)) { name_layers(); }

Variable Sequential::operator()(const Variable& x) {
  Variable y = x;
  for (std::size_t i = 0; i < layers_.size();) i = call(i, y);
  return y;
}

std::size_t Sequential::call(std::size_t i, Variable& x) {
  const auto behind = [&](std::size_t j) { return i + j < layers_.size() ? layers_[i + j].get() : nullptr; };
  const PlaceScope place(layers_[i]->name());
  const bool by_hand = current_math() != Math::vendor && current_precision() == Precision::fp32;
  if (auto* const conv2d = dynamic_cast<Conv2d*>(layers_[i].get()); conv2d && by_hand) {
    if (const Block block = block_behind(behind(1), behind(2)); block.layers > 0) {
      const ActivationLayer* const activation = block.activation;
      x = activation ? conv2d->with_pool(x, activation->activation(), activation->slope())
                     : conv2d->with_pool(x, kernels::Activation::none, 0.0f);
      return i + 1 + block.layers;
    }
  }
  auto* const product = dynamic_cast<ProductLayer*>(layers_[i].get());
  if (const ActivationLayer* const activation = fusible(behind(1)); product && activation) {
    x = product->with_activation(x, activation->activation(), activation->slope());  // y is written once
    return i + 2;
  }
  x = (*layers_[i])(x);
  return i + 1;
}

Description Sequential::describe() const {
  Description description{"sequential", {}, {}};
  for (const auto& layer : layers_) description.children.push_back(layer->describe());
  return description;
}

std::vector<Module*> Sequential::children() {
  std::vector<Module*> children;
  for (const auto& layer : layers_) children.push_back(layer.get());
  return children;
}

void Sequential::name_layers() { set_name(name()); }

}  // namespace espalier
