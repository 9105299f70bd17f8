#include "layers/flatten.h"

#include "kernels/require.h"

namespace espalier {

Tensor FlattenFunction::forward(const Tensors& inputs, Context& context) const {
  const Shape& shape = inputs[0].shape();
  require(shape.rank() >= 1, "flatten: input is ", shape.to_string(), "; it needs a batch axis to keep");
  if (context.recording) context.saved_shapes = {shape};
  return inputs[0].reshape({shape[0], shape.size() / shape[0]});
}

Tensors FlattenFunction::backward(const Tensor& dy, const Context& context) const {
  return {dy.reshape(context.saved_shapes[0])};
}

Variable Flatten::operator()(const Variable& x) { return apply(std::make_shared<FlattenFunction>(), {x}); }

}  // namespace espalier
