// y = body(x) + shortcut(x), the building block of residual networks (He et al. 2016). Without a shortcut x itself is
// added, so the body must keep its shape; a strided or widening body needs one, usually a 1x1 convolution.
#pragma once
#include <concepts>
#include <memory>
#include <string_view>
#include <utility>

#include "layers/module.h"

namespace espalier {

struct AddFunction final : Function {
  std::string_view name() const override { return "add"; }
  Tensor forward(const Tensors& inputs, Context& context) const override;
  Tensors backward(const Tensor& output_gradient, const Context& context) const override;
  ChannelFlow channel_flow() const override { return ChannelFlow::uniform; }
};

Variable operator+(const Variable& a, const Variable& b);  // equal shapes

class Residual : public Module {
 public:
  template <std::derived_from<Module> Body>
  explicit Residual(Body body) : Residual(std::make_unique<Body>(std::move(body)), nullptr) {}
  template <std::derived_from<Module> Body, std::derived_from<Module> Shortcut>
  Residual(Body body, Shortcut shortcut)
      : Residual(std::make_unique<Body>(std::move(body)), std::make_unique<Shortcut>(std::move(shortcut))) {}
  Residual(std::unique_ptr<Module> body, std::unique_ptr<Module> shortcut);  // shortcut may be null
  Residual(Residual&&) = default;
  Residual& operator=(Residual&&) = default;

  Variable operator()(const Variable& x) override;
  std::string_view kind() const override { return "residual"; }
  Description describe() const override;  // children: body, then the shortcut if there is one

 protected:
  std::vector<Module*> children() override;

 private:
  std::unique_ptr<Module> body_, shortcut_;
};

}  // namespace espalier
