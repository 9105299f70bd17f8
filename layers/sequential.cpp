#include "layers/sequential.h"

namespace espalier {

Sequential::Sequential(std::vector<std::unique_ptr<Module>> layers) : layers_(std::move(layers)) { name_layers(); }

Variable Sequential::operator()(const Variable& x) {
  Variable y = x;
  for (const auto& layer : layers_) y = (*layer)(y);
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
