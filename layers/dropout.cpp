#include "layers/dropout.h"

#include "core/device/stream.h"
#include "kernels/fnv.h"
#include "kernels/require.h"

namespace espalier {
Tensor DropoutFunction::forward(const Tensors& inputs, Context& context) const {
  const Tensor& x = inputs[0];
  Tensor y = Tensor::like(x), keep = Tensor::empty(x.shape(), DType::u8);
  const auto counter = step.data<std::int64_t>();
  kernels::dropout_forward(x.size(), dropout, counter, x.data<float>(), y.data<float>(), keep.data<std::uint8_t>(),
                           current_stream());
  kernels::increment_counter(counter, current_stream());
  if (context.recording) context.saved = {keep};
  return y;
}

Tensors DropoutFunction::backward(const Tensor& dy, const Context& context) const {
  Tensor dx = Tensor::like(dy);
  kernels::dropout_backward(dy.size(), dropout, context.saved[0].data<std::uint8_t>(), dy.data<float>(),
                            dx.data<float>(), current_stream());
  return {dx};
}

Dropout::Dropout(double probability, std::uint64_t seed)
    : probability_(probability), seed_(seed), step_{"step", Tensor::zeros({1}, DType::i64)} {
  require(probability >= 0 && probability <= 1, "dropout: probability is ", probability, "; give one in [0, 1]");
}

Variable Dropout::operator()(const Variable& x) {
  if (!training() || probability_ == 0) return x;
  const kernels::Dropout dropout{probability_, seed_ ^ kernels::fnv1a(name())};
  return apply(std::make_shared<DropoutFunction>(dropout, step_.value), {x});
}

Description Dropout::describe() const {
  return {"dropout", {{"probability", probability_}, {"seed", std::int64_t(seed_)}}, {}};
}

}  // namespace espalier
