#include "layers/residual.h"

#include "core/device/stream.h"
#include "kernels/elementwise.h"
#include "kernels/require.h"

namespace espalier {

Tensor AddFunction::forward(const Tensors& inputs, Context&) const {
  const Tensor &a = inputs[0], &b = inputs[1];
  require(a.shape() == b.shape(), "add: the shapes are ", a.shape().to_string(), " and ", b.shape().to_string(),
          "; give the residual block a shortcut that brings x to the body's shape");
  Tensor y = Tensor::like(a);
  kernels::add(y.size(), a.data<float>(), b.data<float>(), y.data<float>(), current_stream());
  return y;
}

Tensors AddFunction::backward(const Tensor& dy, const Context&) const { return {dy, dy}; }

Variable operator+(const Variable& a, const Variable& b) { return apply(std::make_shared<AddFunction>(), {a, b}); }

Residual::Residual(std::unique_ptr<Module> body, std::unique_ptr<Module> shortcut)
    : body_(std::move(body)), shortcut_(std::move(shortcut)) {
  require(body_ != nullptr, "residual: no body; give the layers that x is added to");
  set_name(name());  // names the children by their place
}

Variable Residual::operator()(const Variable& x) {
  const Variable y = (*body_)(x);
  return y + (shortcut_ ? (*shortcut_)(x) : x);
}

Description Residual::describe() const {
  Description description{"residual", {}, {}};
  for (const Module* part : {body_.get(), shortcut_.get()}) {
    if (part != nullptr) description.children.push_back(part->describe());
  }
  return description;
}

std::vector<Module*> Residual::children() {
  if (shortcut_) return {body_.get(), shortcut_.get()};
  return {body_.get()};
}

}  // namespace espalier
