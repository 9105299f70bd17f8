// Inverted dropout (Srivastava et al. 2014): in training each element is zeroed with `probability` and the others are
// scaled by 1 / (1 - probability), so that inference is the identity. Forward moves 9 bytes per element.
// What falls depends on seed, the layer's name and a step counter in device memory: two layers of one model differ
// under one seed, a captured graph draws anew at each launch, and a checkpoint (which keeps the counter) resumes the
// same sequence.
#pragma once
#include <cstdint>
#include <string_view>

#include "kernels/random.h"
#include "layers/module.h"

namespace espalier {

struct DropoutFunction final : Function {
  kernels::Dropout dropout;
  Tensor step;  // i64 [1]; forward draws with it, then adds one

  DropoutFunction(const kernels::Dropout& of, Tensor counter) : dropout(of), step(std::move(counter)) {}
  std::string_view name() const override { return "dropout"; }
  Tensor forward(const Tensors& inputs, Context& context) const override;
  Tensors backward(const Tensor& output_gradient, const Context& context) const override;
};

class Dropout : public Module {
 public:
  explicit Dropout(double probability = 0.5, std::uint64_t seed = 1);
  Variable operator()(const Variable& x) override;
  double probability() const { return probability_; }
  std::string_view kind() const override { return "dropout"; }
  Description describe() const override;

 protected:
  std::vector<Buffer*> own_buffers() override { return {&step_}; }

 private:
  double probability_;
  std::uint64_t seed_;
  Buffer step_;
};

}  // namespace espalier
