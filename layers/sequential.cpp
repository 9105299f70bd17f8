#include "layers/sequential.h"

#include "core/autograd/place.h"
#include "layers/activation.h"
#include "layers/product.h"

namespace espalier {
namespace {

// An activation whose gradient follows from its output needs no copy of the product it was applied to.
const ActivationLayer* fusible(const Module& layer) {
  const auto* const activation = dynamic_cast<const ActivationLayer*>(&layer);
  return activation && !kernels::gradient_needs_input(activation->activation()) ? activation : nullptr;
}

}  // namespace

Sequential::Sequential(std::vector<std::unique_ptr<Module>> layers) : layers_(std::move(layers)) { name_layers(); }

Variable Sequential::operator()(const Variable& x) {
  Variable y = x;
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    const PlaceScope place(layers_[i]->name());
    const ActivationLayer* const activation = i + 1 < layers_.size() ? fusible(*layers_[i + 1]) : nullptr;
    auto* const product = dynamic_cast<ProductLayer*>(layers_[i].get());
    if (product && activation) {  // y is written once, already activated
      y = product->with_activation(y, activation->activation(), activation->slope());
      ++i;
    } else {
      y = (*layers_[i])(y);
    }
  }
  return y;
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
