// Modules applied one after the other. Sequential model(Conv2d(1, 32), Relu(), ...) owns its layers and names them by
// kind and position among their kind: conv2d_1, relu_1, conv2d_2.
#pragma once
#include <concepts>
#include <memory>
#include <utility>
#include <vector>

#include "layers/module.h"

namespace espalier {

class Sequential : public Module {
 public:
  template <class... Layers>
  requires(std::derived_from<std::remove_cvref_t<Layers>, Module>&&...) explicit Sequential(Layers&&... layers) {
    (layers_.push_back(std::make_unique<std::remove_cvref_t<Layers>>(std::forward<Layers>(layers))), ...);
    name_layers();
  }
  Sequential(Sequential&&) = default;
  Sequential& operator=(Sequential&&) = default;

  explicit Sequential(std::vector<std::unique_ptr<Module>> layers);

  Variable operator()(const Variable& x) override;
  std::size_t size() const { return layers_.size(); }
  Module& operator[](std::size_t i) { return *layers_.at(i); }
  std::string_view kind() const override { return "sequential"; }
  Description describe() const override;

 protected:
  std::vector<Module*> children() override;

 private:
  // Calls the layer at `i`, with those behind it that it takes in; returns the place of the next.
  std::size_t call(std::size_t i, Variable& x);
  void name_layers();
  std::vector<std::unique_ptr<Module>> layers_;
};

}  // namespace espalier
