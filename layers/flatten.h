// [N, C, H, W] seen as [N, C * H * W]: no memory moves in either direction.
#pragma once
#include <string_view>

#include "layers/module.h"

namespace espalier {

struct FlattenFunction final : Function {
  std::string_view name() const override { return "flatten"; }
  Tensor forward(const Tensors& inputs, Context& context) const override;
  Tensors backward(const Tensor& output_gradient, const Context& context) const override;
};

struct Flatten : Module {
  Variable operator()(const Variable& x) override;
  std::string_view kind() const override { return "flatten"; }
  Description describe() const override { return {"flatten", {}, {}}; }
};

}  // namespace espalier
