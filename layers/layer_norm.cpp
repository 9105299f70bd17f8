// Layer normalisation as a Function of x, gamma and beta: rows are all axes before the normalised ones.
#include "layers/layer_norm.h"

#include "core/device/stream.h"
#include "kernels/layer_norm.h"
#include "kernels/require.h"

namespace espalier {
namespace {

class LayerNormFunction final : public Function {
 public:
  explicit LayerNormFunction(float epsilon) : epsilon_(epsilon) {}
  std::string_view name() const override { return "layer_norm"; }

  Tensor forward(const Tensors& inputs, Context& context) const override {
    const Tensor &x = inputs[0], &gamma = inputs[1];
    const kernels::MatrixShape shape{x.size() / gamma.size(), gamma.size()};
    const Tensor y = Tensor::like(x), mean = Tensor::empty({shape.rows}), inverse_deviation = Tensor::like(mean);
    kernels::layer_norm_forward(shape, epsilon_, x.data<float>(), {gamma.data<float>(), inputs[2].data<float>()},
                                y.data<float>(), {mean.data<float>(), inverse_deviation.data<float>()},
                                current_stream());
    if (context.recording) context.saved = {x, gamma, mean, inverse_deviation};
    return y;
  }

  Tensors backward(const Tensor& dy, const Context& context) const override {
    const Tensor &x = context.saved[0], &gamma = context.saved[1];
    const kernels::MatrixShape shape{x.size() / gamma.size(), gamma.size()};
    const Tensor dx = Tensor::like(x), dgamma = Tensor::like(gamma), dbeta = Tensor::like(gamma);
    const Tensor workspace = Tensor::empty({std::int64_t(kernels::layer_norm_workspace_bytes(shape))}, DType::u8);
    kernels::layer_norm_backward(shape, x.data<float>(), gamma.data<float>(),
                                 {context.saved[2].data<float>(), context.saved[3].data<float>()}, dy.data<float>(),
                                 {dx.data<float>(), dgamma.data<float>(), dbeta.data<float>()}, workspace.raw(),
                                 current_stream());
    return {dx, dgamma, dbeta};
  }

 private:
  float epsilon_;
};

bool ends_with(const Shape& shape, const Shape& tail) {
  if (shape.rank() < tail.rank()) return false;
  return std::equal(tail.extents().rbegin(), tail.extents().rend(), shape.extents().rbegin());
}

}  // namespace

LayerNorm::LayerNorm(Shape normalised, float epsilon)
    : gamma("gamma", Tensor::full(normalised, 1.0f)), beta("beta", Tensor::zeros(normalised)), epsilon_(epsilon) {
  require(epsilon > 0, "layer_norm: epsilon ", epsilon, " must be positive");
}

Variable LayerNorm::operator()(const Variable& x) {
  const Shape& normalised = gamma.value.shape();
  require(ends_with(x.shape(), normalised), name().empty() ? std::string(kind()) : name(), ": input ",
          x.shape().to_string(), " must end with the normalised axes ", normalised.to_string());
  return apply(std::make_shared<LayerNormFunction>(epsilon_), {x, gamma.value, beta.value});
}

Description LayerNorm::describe() const {
  Description description{std::string(kind()), {{"epsilon", double(epsilon_)}}, {}};
  const std::vector<std::int64_t>& extents = gamma.value.shape().extents();
  description.attributes["axes"] = std::int64_t(extents.size());
  for (std::size_t axis = 0; axis < extents.size(); ++axis) {
    description.attributes["extent_" + std::to_string(axis)] = extents[axis];
  }
  return description;
}

}  // namespace espalier
